"""cloud-init's own `ds-identify` and data sources, and Ignition's own stage "fetch", read our drives in a Linux kernel.

Ignition's later stages change disks and are not run.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any, Final

import pytest
import yaml

from configdrive.contents.nocloud import network_config
from tests.drives import KEYS, MAC, NIC, PASSWORD, VM
from tests.integration.image.linux import run_in_linux
from tests.integration.readers import foreign
from tests.integration.readers.drives import LABELS, USER_DATA, write_drive
from tests.support import require_rig

HERE: Final = Path(__file__).parent
ON: Final = ["ds-identify: 0", "datasource_list: [ ConfigDrive, None ]"]
FETCHED, GIVEN_UP = "ignition: 0", "ignition: 143"
CONFIG: Final = {"ignition": {"version": "3.3.0"}, "storage": {"files": [{"path": "/etc/from-the-drive"}]}}


@dataclass(frozen=True)
class Read:
    """What was read of a drive in one Linux.

    Attributes:
        label: the drive's.
        identified: ds-identify's exit code and data sources, by itself and in a template.
        taken: what a data source has taken.
        fetched: what Ignition says for each of its platforms, three lines each, and then what it left mounted.
    """

    label: str
    identified: list[str]
    taken: Mapping[str, Any]
    fetched: list[str]


def read(drive: Path, label: str, source: str = "ConfigDrive") -> Read:
    """Let cloud-init read a drive, and Ignition behind it, which knows no NoCloud."""
    with require_rig():
        values = {
            "root": foreign.cloud_init(),
            "inside": HERE / "cloud_init_inside.py",
            "mac": MAC,
            "source": source,
            "ignition": foreign.ignition(),
            "misses": 2 if label == "config" else 1_000_000,
        }
        names = ("cloud_init", "ignition") if source == "ConfigDrive" else ("cloud_init",)
        script = "".join((HERE / f"{name}.sh").read_text() for name in names)
        for name, value in values.items():
            script = script.replace(f"{{{name}}}", quote(str(value)))
        printed = run_in_linux(drive, script, drive.parent).splitlines()
        at = next(number for number, line in enumerate(printed) if line.startswith("{"))
        return Read(label, printed[:at], json.loads(printed[at]), printed[at + 1 :])
    raise AssertionError


@pytest.fixture(scope="module", params=LABELS)
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Read:
    """With each label; the last one's drive is without password and addresses, all but the first are for Ignition."""
    label: str = request.param
    is_bare = label == LABELS[-1]
    drive = write_drive(
        tmp_path_factory.mktemp("drive") / "drive.iso",
        label,
        user_data=USER_DATA if label == "config" else json.dumps(CONFIG).encode(),
        password=None if is_bare else PASSWORD,
        nic=None if is_bare else NIC,
    )
    return read(drive, label)


def test_what_cloud_init_takes_with_each_label(found: Read) -> None:
    # By its label only does cloud-init switch itself on; once it is on, it looks at every unpartitioned ISO 9660 disk.
    assert found.identified[:2] == (["ds-identify: 1", "disabled"] if found.label == "config" else ON)
    assert found.identified[2:] == ON, "a template can name the source, and then any label will do"
    taken = found.taken
    assert taken["found"] is True
    assert taken["device"] == "/dev/ubda"
    assert taken["hostname"] == "web-14"
    assert taken["instance_id"] == VM.uuid
    assert taken["zone"] == "zone1"
    assert taken["keys"] == [key.key for key in KEYS]
    user_data = bytes.fromhex(taken["user_data"])
    assert user_data == USER_DATA if found.label == "config" else json.loads(user_data) == CONFIG
    assert taken["ec2"]["instance-id"] == "i-2-14-VM"
    if found.label == LABELS[-1]:
        assert (taken["vendor_data"], taken["network"]) == (None, None)  # it then asks for addresses by DHCP
        return
    config = yaml.safe_load(taken["vendor_data"])
    assert config == {"password": PASSWORD, "chpasswd": {"expire": False}, "ssh_pwauth": True}
    nic, servers = taken["network"]["config"]
    assert (nic["name"], nic["mac_address"], "mtu" in nic) == ("eth0", MAC, False)
    [subnet] = nic["subnets"]
    assert (subnet["type"], subnet["address"], subnet["netmask"]) == ("static", "10.1.1.14", "255.255.255.0")
    default, other = subnet["routes"]
    assert (default["network"], default["netmask"]) == ("0.0.0.0",) * 2  # noqa: S104  # everywhere, not an interface
    assert default["gateway"] == "10.1.1.1"
    assert (other["network"], other["netmask"], other["gateway"]) == ("10.9.0.0", "255.255.0.0", "10.1.1.9")
    assert servers == {"type": "nameserver", "address": "192.0.2.53"}


def test_what_ignition_fetches_with_each_label(found: Read) -> None:
    said = found.fetched
    assert len(said) == 6, "nothing is left mounted"
    for code, fetched, missed in (said[:3], said[3:]):
        if found.label == "config":
            # It would wait for ever, and with it the boot.
            assert (code, fetched) == (GIVEN_UP, "nothing")
            assert int(missed) > 1
        else:
            assert (code, json.loads(fetched)["storage"]["files"][0]["path"]) == (FETCHED, "/etc/from-the-drive")


def test_nocloud_takes_all_from_a_drive_of_its_label(tmp_path: Path) -> None:
    found = read(write_drive(tmp_path / "drive.iso", "cidata"), "cidata", "NoCloud")
    taken = found.taken
    assert found.identified[:2] == ["ds-identify: 0", "datasource_list: [ NoCloud, None ]"]
    assert taken["device"] == "/dev/ubda"
    assert (taken["hostname"], taken["instance_id"]) == ("web-14", VM.uuid)
    assert taken["keys"] == [key.key for key in KEYS]
    assert bytes.fromhex(taken["user_data"]) == USER_DATA
    assert yaml.safe_load(taken["vendor_data"])["password"] == PASSWORD
    assert taken["network"] == network_config((NIC,))


def test_it_sets_a_password_once_in_a_vms_life() -> None:
    """So after a reset the new password does not come by cloud-init: `docs/reference/readers.md` says what to do."""
    with require_rig():
        module = foreign.cloud_init() / "usr/lib/python3/dist-packages/cloudinit/config/cc_set_passwords.py"
        assert re.search(r'"frequency": PER_INSTANCE,', module.read_text())
