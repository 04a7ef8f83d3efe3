"""cloud-init's own `ds-identify` and `DataSourceConfigDrive` read our drives in a Linux kernel."""

from __future__ import annotations

import json
import re
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from configdrive.contents.nocloud import network_config
from tests.drives import KEYS, MAC, NIC, PASSWORD, VM
from tests.integration.image.linux import run_in_linux
from tests.integration.readers import foreign
from tests.integration.readers.drives import LABELS, USER_DATA, write_drive
from tests.support import require_rig

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).parent
ON = ["ds-identify: 0", "datasource_list: [ ConfigDrive, None ]"]


def cloud_init(drive: Path, scratch: Path, source: str = "ConfigDrive") -> tuple[list[str], Mapping[str, Any]]:
    """Return ds-identify's exit code and data sources, by itself and in a template, and what a source has taken."""
    with require_rig():
        root = foreign.cloud_init()
        script = (HERE / "cloud_init.sh").read_text()
        inside = HERE / "cloud_init_inside.py"
        for name, value in {"root": root, "inside": inside, "mac": MAC, "source": source}.items():
            script = script.replace(f"{{{name}}}", quote(str(value)))
        printed = run_in_linux(drive, script, scratch)
        *identified, document = printed.splitlines()
        return identified, json.loads(document)
    raise AssertionError


@pytest.mark.parametrize("label", LABELS)
def test_what_it_takes_with_each_label(label: str, tmp_path: Path) -> None:
    identified, taken = cloud_init(write_drive(tmp_path / "drive.iso", label), tmp_path)
    # By its label only does cloud-init switch itself on; once it is on, it looks at every unpartitioned ISO 9660 disk.
    assert identified[:2] == (["ds-identify: 1", "disabled"] if label == "config" else ON)
    assert identified[2:] == ON, "a template can name the source, and then any label will do"
    assert taken["found"] is True
    assert taken["device"] == "/dev/ubda"
    assert taken["hostname"] == "web-14"
    assert taken["instance_id"] == VM.uuid
    assert taken["zone"] == "zone1"
    assert taken["keys"] == [key.key for key in KEYS]
    assert bytes.fromhex(taken["user_data"]) == USER_DATA
    assert taken["ec2"]["instance-id"] == "i-2-14-VM"
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


def test_nocloud_takes_all_from_a_drive_of_its_label(tmp_path: Path) -> None:
    identified, taken = cloud_init(write_drive(tmp_path / "drive.iso", "cidata"), tmp_path, "NoCloud")
    assert identified[:2] == ["ds-identify: 0", "datasource_list: [ NoCloud, None ]"]
    assert taken["device"] == "/dev/ubda"
    assert (taken["hostname"], taken["instance_id"]) == ("web-14", VM.uuid)
    assert taken["keys"] == [key.key for key in KEYS]
    assert bytes.fromhex(taken["user_data"]) == USER_DATA
    assert yaml.safe_load(taken["vendor_data"])["password"] == PASSWORD
    assert taken["network"] == network_config((NIC,))


def test_without_password_and_addresses_it_changes_neither(tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "drive.iso", "config-2", password=None, nic=None)
    _, taken = cloud_init(drive, tmp_path)
    assert taken["found"] is True
    assert taken["vendor_data"] is None
    assert taken["network"] is None  # it then asks for addresses by DHCP


def test_it_sets_a_password_once_in_a_vms_life() -> None:
    """So after a reset the new password does not come by cloud-init: `docs/reference/readers.md` says what to do."""
    with require_rig():
        module = foreign.cloud_init() / "usr/lib/python3/dist-packages/cloudinit/config/cc_set_passwords.py"
        assert re.search(r'"frequency": PER_INSTANCE,', module.read_text())
