"""The `[vmware]` table: what it takes, what it refuses, and that no error shows a secret."""

import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import HostName
from tests.support import error_of

pytest.importorskip("pyVmomi")

from workers.hypervisors.vmware.driver import VmwareDriver
from workers.hypervisors.vmware.inventory import Identity, Transfer, parse

EXAMPLE = Path(__file__).parents[5] / "deploy" / "inventory.example.toml"
SECRET = "sesame-open"
GOOD: dict[str, Any] = {
    "endpoints": {"vc": {"server": "vc.example", "username": "me", "password": SECRET}},
    "hosts": {"esx-01": {"endpoint": "vc"}},
}


def table(**changes: Any) -> dict[str, Any]:  # noqa: ANN401  # any value of a field
    """Change fields of the endpoint (`e_`) and of the host (`h_`)."""
    made = deepcopy(GOOD)
    for name, value in changes.items():
        part = made["endpoints"]["vc"] if name.startswith("e_") else made["hosts"]["esx-01"]
        part[name[2:]] = value
    return made


def test_the_example_is_read() -> None:
    section = tomllib.loads(EXAMPLE.read_text("utf-8"))["vmware"]
    section["endpoints"]["vc-01"]["password"] = SECRET
    read = parse(section)
    assert list(read.hosts) == ["esx-01", "cluster-01", "vc-01"]
    assert read.hosts["esx-01"].fallback_datastore == "nfs-images"


def test_little_need_be_said() -> None:
    read = parse(GOOD)
    endpoint, host = read.endpoints["vc"], read.hosts["esx-01"]
    assert (endpoint.port, endpoint.verify_tls, endpoint.transfer) == (443, True, Transfer.SESSION)
    assert host.identify_by == (Identity.BIOS_UUID, Identity.INSTANCE_UUID)
    assert "ide:1:0" not in host.cd_slots
    assert VmwareDriver.from_inventory(GOOD).hosts() == {HostName("esx-01")}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"e_server": "https://vc.example"}, "server"),
        ({"e_port": 0}, "port"),
        ({"e_username": ""}, "username"),
        ({"e_fingerprint": "sha256:12"}, "fingerprint"),
        ({"e_fingerprint": "a" * 40}, "fingerprint"),
        ({"e_fingerprint": "a" * 64, "e_ca_file": "/etc/ca.pem"}, "not both"),
        ({"e_connections": 0}, "connections"),
        ({"e_transfer": "ftp"}, "transfer"),
        ({"e_passwort": SECRET}, "passwort"),
        ({"e_password": {"fiel": SECRET}}, "password"),
        ({"h_endpoint": "other"}, "'other'"),
        ({"h_esxi": "a", "h_cluster": "b"}, "not both"),
        ({"h_placement": "root"}, "placement"),
        ({"h_datacenter": ""}, "datacenter"),
        ({"h_cd_slots": []}, "cd_slots"),
        ({"h_cd_slots": ["ide:2:0"]}, "cd_slots"),
        ({"h_cd_slots": ["sata:0:30"]}, "cd_slots"),
        ({"h_cd_slots": ["scsi:0:0"]}, "cd_slots"),
        ({"h_identify_by": ["dns"]}, "identify_by"),
        ({"h_identify_by": []}, "identify_by"),
    ],
    ids=str,
)
def test_a_wrong_field_is_named_and_no_secret_shown(changes: dict[str, Any], field: str) -> None:
    caught = error_of(parse, table(**changes))
    assert caught.code is PermanentCode.MISCONFIGURED
    assert field in caught.detail
    assert SECRET not in str(caught)


@pytest.mark.parametrize("part", ["endpoints", "hosts"])
def test_both_parts_are_needed(part: str) -> None:
    section = deepcopy(GOOD)
    del section[part]
    with pytest.raises(PermanentError, match=part):
        parse(section)


@pytest.mark.parametrize("fingerprint", ["a" * 64, "sha256:" + "A" * 64, ":".join(["0f"] * 32)])
def test_a_fingerprint_is_written_in_every_usual_way(fingerprint: str) -> None:
    assert parse(table(e_fingerprint=fingerprint)).endpoints["vc"].fingerprint == fingerprint


def test_the_password_is_not_shown() -> None:
    assert SECRET not in repr(parse(GOOD))


def test_trust_in_anybody_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    VmwareDriver.from_inventory(table(e_verify_tls=False))
    assert "verify_tls is off" in caplog.text
    assert SECRET not in caplog.text
