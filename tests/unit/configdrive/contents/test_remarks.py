"""What an outcome says of a drive beside that it was made."""

import pytest
from pydantic import SecretBytes

from configdrive.contents.remarks import remarks
from configdrive.drive_data import Bond, BondMode, Nic, Vlan, VmData
from configdrive.model import DriveSettings
from tests.drives import VM, WINDOWS_VM


def said(user_data: str, *, has_password: bool = True) -> str:
    data = VmData(user_data=SecretBytes(user_data.encode()))
    return "; ".join(remarks(WINDOWS_VM, data, DriveSettings(), has_password=has_password))


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ("users:\n - name: alice\n", "'users' has no 'default'"),
        ("users:\n- name: alice\n  groups: default-users\n", "'users' has no 'default'"),
        ("users: [{name: alice}]\n", "'users' has no 'default'"),
        ("users: []\n", "'users' has no 'default'"),
        ("package_update: true\nusers:\n# ours\n\n  - alice\nruncmd: [default]\n", "'users' has no 'default'"),
        ("chpasswd:\n  list: |\n    root:x\n", "'chpasswd' names the users"),
        ("chpasswd: {expire: false, users: [{name: a, password: b}]}\n", "'chpasswd' names the users"),
        ("password: other\n", "'password' is another one"),
        ("users:\n - default\n - name: alice\n", ""),
        ("users: [default, alice]\n", ""),
        ('"users":\n- "default"\n', ""),
        ("chpasswd: {expire: false}\n", ""),
        ("runcmd:\n - echo users: none\n", ""),
        ("write_files:\n - content: |\n    users: []\n", ""),
    ],
)
def test_user_data_that_drops_the_password_is_said_and_not_shown(config: str, problem: str) -> None:
    found = said(f"#cloud-config\n{config}")
    assert problem in found
    assert bool(found) == bool(problem)
    assert "alice" not in found
    assert ("configdrive-guest does" in found) == (problem == "'password' is another one")
    assert said(f"## template: jinja\n#cloud-config\n{config}") == found
    assert said(f"#!/bin/sh\n{config}") == ""
    assert said(f"#cloud-config\n{config}", has_password=False) == ""


def test_a_vlan_of_a_windows_guest_is_said_to_need_a_bond() -> None:
    first, second = "02:00:5e:10:00:01", "02:00:5e:10:00:02"
    bond = Nic(second, bond=Bond((second,), BondMode.ACTIVE_BACKUP), addresses=())
    vlans = [Nic(mac, vlan=Vlan(mac, 7), addresses=()) for mac in (first, second)]
    data = VmData(nics=(Nic(first, addresses=()), bond, *vlans))
    [said] = remarks(WINDOWS_VM, data, DriveSettings(), has_password=False)
    assert said.startswith("nics[2]: cloudbase-init makes VLANs on bonds only")
    assert remarks(VM, data, DriveSettings(), has_password=False) == ()
