"""cloudbase-init's own Windows code reads our drives, as Joliet shows them and as a raw disk."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from configdrive.drive_data import Bond, BondMode, HashPolicy, Nic, Vlan, VmData
from tests.drives import KEYS, MAC, NIC, PASSWORD, VM, WINDOWS_VM, files_of, secret, write_image
from tests.integration.readers.drives import LABELS, USER_DATA, as_windows_shows, write_drive
from tests.support import find_program, require_rig

SECOND = "02:00:5e:10:00:15"


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What it takes from each drive, one after another in one process; by the label, as a CD drive or as a raw disk."""
    folder = tmp_path_factory.mktemp("drives")
    drives: dict[str, dict[str, str]] = {}
    with require_rig():
        bsdtar = find_program("bsdtar", "libarchive-tools")
        for label in LABELS:
            image = write_drive(folder / f"{label}.iso", label, vm=WINDOWS_VM)
            drives[f"CD {label}"] = {"label": label, "tree": str(as_windows_shows(image, folder / label))}
            drives[f"disk {label}"] = {"label": label, "image": str(image)}
        image = write_drive(folder / "bare.iso", "config-2", password=None, nic=None, vm=WINDOWS_VM)
        drives["bare"] = {"label": "config-2", "tree": str(as_windows_shows(image, folder / "bare"))}
    bond = Nic(MAC, bond=Bond((MAC, SECOND), BondMode.LACP, xmit_hash_policy=HashPolicy.LAYER3_4))
    data = VmData(user_data=secret(USER_DATA), nics=(bond, replace(NIC, vlan=Vlan(MAC, 42))), label="config-2")
    image = write_image(folder / "bond.iso", files_of(data, None, WINDOWS_VM), "config-2")
    drives["bond"] = {"label": "config-2", "image": str(image)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.integration.readers.cloudbase", bsdtar],
        input=json.dumps(list(drives.values())),
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(drives, json.loads(done.stdout.splitlines()[-1]), strict=True))


def assert_everything(taken: Mapping[str, Any]) -> None:
    assert taken["found"] is True
    assert taken["hostname"] == "web-14"
    assert taken["instance_id"] == VM.uuid
    assert taken["keys"] == sorted(key.key for key in KEYS)
    assert taken["password"] == PASSWORD
    assert bytes.fromhex(taken["user_data"]) == USER_DATA
    [link], [network] = taken["network"]["links"], taken["network"]["networks"]
    assert (link["mac_address"], link["mtu"]) == (MAC, None)
    assert (network["link"], network["address_cidr"]) == (link["id"], "10.1.1.14/24")
    assert network["dns_nameservers"] == ["192.0.2.53"]
    assert [(route["network_cidr"], route["gateway"]) for route in network["routes"]] == [
        ("0.0.0.0/0", "10.1.1.1"),
        ("10.9.0.0/16", "10.1.1.9"),
    ]


@pytest.mark.parametrize("label", LABELS)
def test_it_takes_all_from_a_raw_disk_and_from_a_cd_drive_by_its_label(label: str, taken: dict[str, Any]) -> None:
    assert_everything(taken[f"disk {label}"])
    if label == "config":
        assert taken[f"CD {label}"] == {"found": False}
    else:
        assert_everything(taken[f"CD {label}"])


def test_it_knows_bonds_and_the_vlans_on_them(taken: dict[str, Any]) -> None:
    network = taken["bond"]["network"]
    links = {link["id"]: link for link in network["links"]}
    assert [link["type"] for link in links.values()] == ["physical", "physical", "bond", "vlan"]
    *nics, team, tagged = links
    assert links[team]["bond"] == {
        "members": nics,
        "type": "802.3ad",
        "lb_algorithm": "layer3+4",
        "lacp_rate": None,
    }
    assert (links[tagged]["vlan_link"], links[tagged]["vlan_id"], links[tagged]["mac_address"]) == (team, 42, MAC)
    assert [(one["link"], one["address_cidr"]) for one in network["networks"]] == [(tagged, "10.1.1.14/24")]


def test_without_password_and_addresses_it_changes_neither(taken: dict[str, Any]) -> None:
    bare = taken["bare"]
    assert (bare["found"], bare["password"], bare["network"]) == (True, None, None)
