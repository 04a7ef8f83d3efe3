"""cloudbase-init's own Windows code reads our drives, as Joliet shows them and as a raw disk."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from configdrive.drive_data import (
    Bond,
    BondMode,
    HashPolicy,
    Nic,
    Vlan,
    VmData,
)
from tests.drives import KEYS, MAC, NIC, PASSWORD, VM, WINDOWS_VM, files_of, secret, write_image
from tests.integration.readers.drives import LABELS, USER_DATA, as_windows_shows, write_drive
from tests.support import find_program, require_rig

if TYPE_CHECKING:
    from collections.abc import Mapping


def cloudbase_init(label: str, *, tree: Path | str = "", image: Path | str = "") -> Mapping[str, Any]:
    with require_rig():
        bsdtar = find_program("bsdtar", "libarchive-tools")
    module = "tests.integration.readers.cloudbase"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", module, label, str(tree), str(image), bsdtar],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    result: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


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
def test_what_it_takes_from_a_cd_drive_with_each_label(label: str, tmp_path: Path) -> None:
    with require_rig():
        tree = as_windows_shows(write_drive(tmp_path / "drive.iso", label, vm=WINDOWS_VM), tmp_path / "tree")
    taken = cloudbase_init(label, tree=tree)
    if label == "config":
        assert taken == {"found": False}
    else:
        assert_everything(taken)


@pytest.mark.parametrize("label", LABELS)
def test_from_a_raw_disk_it_takes_all_whatever_the_label(label: str, tmp_path: Path) -> None:
    assert_everything(cloudbase_init(label, image=write_drive(tmp_path / "drive.iso", label, vm=WINDOWS_VM)))


def test_it_knows_bonds_and_the_vlans_on_them(tmp_path: Path) -> None:
    second = "02:00:5e:10:00:15"
    bond = Nic(MAC, bond=Bond((MAC, second), BondMode.LACP, xmit_hash_policy=HashPolicy.LAYER3_4))
    vlan = replace(NIC, vlan=Vlan(MAC, 42))
    data = VmData(user_data=secret(USER_DATA), nics=(bond, vlan), label="config-2")
    image = write_image(tmp_path / "drive.iso", files_of(data, None, WINDOWS_VM), "config-2")
    network = cloudbase_init("config-2", image=image)["network"]
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


def test_without_password_and_addresses_it_changes_neither(tmp_path: Path) -> None:
    with require_rig():
        drive = write_drive(tmp_path / "drive.iso", "config-2", password=None, nic=None, vm=WINDOWS_VM)
        taken = cloudbase_init("config-2", tree=as_windows_shows(drive, tmp_path / "tree"))
    assert taken["found"] is True
    assert taken["password"] is None
    assert taken["network"] is None
