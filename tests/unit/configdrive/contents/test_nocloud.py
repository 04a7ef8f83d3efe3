"""NoCloud's files: there on drives of its label, and on no others."""

from dataclasses import replace

import pytest
import yaml
from pydantic import SecretBytes

from configdrive.contents.nocloud import network_config
from configdrive.contents.render import DEFAULTS
from configdrive.drive_data import Address, Bond, BondMode, Metadata, Nic, SshKey, Vlan, VmData
from tests.drives import NIC, VM
from tests.unit.configdrive.samples import render

ROOT = {"user-data", "meta-data", "vendor-data", "network-config"}
KEY = "ssh-ed25519 AAAAC3Nz J\N{LATIN SMALL LETTER O WITH DIAERESIS}rg \N{GRINNING FACE}"
FULL = VmData(
    metadata=Metadata(local_hostname="web-1", instance_id="i-2", extra={"seedfrom": "/etc/", "dsmode": "net"}),
    user_data=SecretBytes(b"#!/bin/sh\n"),
    ssh_keys=(SshKey("mine", KEY),),
    nics=(NIC,),
)


def root(data: VmData, password: str | None = None, settings_label: str = "config") -> dict[str, bytes]:
    files = render(data, password, settings=replace(DEFAULTS, label=settings_label))
    return {path: content for path, content in files.items() if "/" not in path}


@pytest.mark.parametrize("label", ["cidata", "CIDATA"])
def test_with_the_label_of_the_vm_or_of_the_fleet_the_root_has_them(label: str) -> None:
    files = root(replace(FULL, label=label), "swordfish")
    assert files == root(FULL, "swordfish", label)
    assert set(files) == ROOT
    assert files["user-data"] == b"#!/bin/sh\n"
    # What a tenant says is not at the top, where `seedfrom` and `dsmode` would be followed.
    assert yaml.safe_load(files["meta-data"]) == {
        "instance-id": VM.uuid,
        "local-hostname": "web-1",
        "public-keys": [KEY],
    }
    assert yaml.safe_load(files["vendor-data"])["password"] == "swordfish"
    assert yaml.safe_load(files["network-config"]) == network_config((NIC,))


def test_nics_bonds_and_vlans_have_names_and_stand_behind_what_they_are_of() -> None:
    first, second, third = (f"02:00:5e:10:00:0{number}" for number in (1, 2, 3))
    vlan = Nic(first, vlan=Vlan(first, 42), addresses=(Address(dhcp=4),))
    config = network_config((vlan, Nic(third), Nic(first, bond=Bond((first, second), BondMode.ACTIVE_BACKUP))))
    assert config is not None
    nics = [
        {"type": "physical", "name": f"eth{number}", "mac_address": mac, "subnets": []}
        for number, mac in enumerate((third, first, second))
    ]
    bond: dict[str, object]
    bond = {"type": "bond", "name": "bond0", "bond_interfaces": ["eth1", "eth2"], "mac_address": first, "subnets": []}
    bond["params"] = {"bond-mode": "active-backup", "bond-miimon": 100}
    on_it = {"type": "vlan", "name": "bond0.42", "vlan_link": "bond0", "vlan_id": 42, "mac_address": first}
    assert config["config"] == [*nics, bond, {**on_it, "subnets": [{"type": "dhcp4"}]}]


@pytest.mark.parametrize("label", ["config", "config-2", "cidata-2"])
def test_with_another_label_the_root_is_empty(label: str) -> None:
    assert root(replace(FULL, label=label), "swordfish", "cidata") == {}


def test_a_vm_that_has_nothing_has_the_two_files_that_nocloud_insists_on() -> None:
    assert root(VmData(label="cidata")) == {"user-data": b"", "meta-data": f'instance-id: "{VM.uuid}"\n'.encode()}
