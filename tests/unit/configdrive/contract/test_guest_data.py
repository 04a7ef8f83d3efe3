"""The sealed part of an event: what of it changes what is known, and what it looks like sealed."""

import base64
import json
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from pydantic import SecretBytes

from configdrive.contract.guest_data import GuestData
from configdrive.drive_data import Address, Bond, BondMode, HashPolicy, Metadata, Nic, Route, SshKey, Vlan, VmData
from tests.unit.documents import BOB, full_guest

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDJ9JaW9i1x31GMO1k36YP5JfPZ1XD1zjtwx7urzHDvF"
SECOND, THIRD = "02:00:5e:10:00:02", "02:00:5e:10:00:03"
KNOWN = VmData(
    metadata=Metadata(vm_id="14", extra={"team": "blue"}),
    user_data=SecretBytes(b"old"),
    ssh_keys=(SshKey("old", KEY),),
    nics=(Nic("02:00:5e:10:00:01"),),
    label="config-2",
)


def guest(**fields: object) -> GuestData:
    return GuestData.model_validate_json(json.dumps(fields))


def test_every_field_arrives_in_the_domain() -> None:
    merged = guest(**full_guest()).merged_into(VmData())
    assert merged.metadata.vm_id == "14"
    assert merged.metadata.cloud_name == "example cloud"
    assert merged.metadata.extra == {"notes": "first line\nsecond line", "team": "blue"}
    assert merged.user_data is not None
    assert merged.user_data.get_secret_value() == b"#!/bin/sh\necho hello\n"
    assert [key.name for key in merged.ssh_keys] == ["alice", "key-2"]
    assert merged.ssh_keys[1].key == BOB
    assert merged.nics == (
        Nic(
            mac="02:00:5e:10:00:01",
            addresses=(
                Address(
                    ip_interface("10.1.1.14/24"),
                    gateway=ip_address("10.1.1.1"),
                    routes=(Route(ip_network("10.9.0.0/16"), ip_address("10.1.1.2")),),
                ),
                Address(dhcp=6),
            ),
            mtu=1450,
            default=True,
            dns=(ip_address("192.0.2.53"),),
        ),
        Nic(SECOND, bond=Bond((SECOND, THIRD), BondMode.LACP, 50, HashPolicy.LAYER3_4), addresses=()),
        Nic(SECOND, vlan=Vlan(SECOND, 42), addresses=()),
    )


def test_what_is_absent_stays_as_it_is_known() -> None:
    assert guest().merged_into(KNOWN) == KNOWN
    assert guest(password="x").merged_into(KNOWN) == KNOWN


def test_null_removes_what_is_known() -> None:
    merged = guest(metadata=None, user_data=None, ssh_keys=None, nics=None).merged_into(KNOWN)
    assert merged == VmData(label="config-2")


def test_each_field_is_taken_as_a_whole_and_leaves_the_others() -> None:
    merged = guest(metadata={"local_hostname": "web-1"}).merged_into(KNOWN)
    assert merged.metadata == Metadata(local_hostname="web-1")
    assert (merged.user_data, merged.ssh_keys, merged.nics) == (KNOWN.user_data, KNOWN.ssh_keys, KNOWN.nics)


def test_no_nics_and_unknown_nics_are_different_things() -> None:
    assert guest(nics=[]).merged_into(KNOWN).nics == ()
    assert guest(nics=None).merged_into(KNOWN).nics is None


def test_user_data_of_any_bytes_arrives_through_base64() -> None:
    content = bytes(range(256))
    for size in (256, 255, 254, 0):
        encoded = base64.b64encode(content[:size]).decode()
        assert guest(user_data={"base64": encoded}).merged_into(VmData()).user_data == SecretBytes(content[:size])


def test_ssh_keys_lose_the_line_break_of_the_file_that_they_were_read_from() -> None:
    merged = guest(ssh_keys=[f"{KEY} me\n"]).merged_into(VmData())
    assert merged.ssh_keys == (SshKey("key-1", f"{KEY} me"),)


def test_only_the_plaintext_to_be_sealed_reveals_secrets() -> None:
    known = guest(user_data={"text": "swordfish-1"}, password="swordfish-2")
    assert b"swordfish-1" in known.plaintext()
    assert b"swordfish-2" in known.plaintext()
    for shown in (repr(known), str(known), known.model_dump_json(), repr(known.merged_into(VmData()))):
        assert "swordfish" not in shown


@pytest.mark.parametrize("encoded", ["aGVsbG8=\n", "aGVs\nbG8=\n", "aGVs\r\nbG8=\r\n"])
def test_base64_may_have_the_line_ends_that_programs_write(encoded: str) -> None:
    known = guest(user_data={"base64": encoded})
    assert known.user_data is not None
    assert known.user_data.content().get_secret_value() == b"hello"
    assert known.plaintext() == b"{}\nhello"
