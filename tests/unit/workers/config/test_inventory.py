"""The inventory file: its tables, the secrets that stand elsewhere, and faults that show neither."""

from pathlib import Path

import pytest

from configdrive.errors import FleetError, PermanentCode
from tests.support import error_of
from workers.config.inventory import read_inventory

SECRET = "sw0rdfish"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "inventory.toml"


def misconfigured(path: Path, content: str | bytes) -> FleetError:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    caught = error_of(read_inventory, path)
    error = caught
    assert error.code is PermanentCode.MISCONFIGURED
    assert SECRET not in f"{error!r} {error.args}"
    return error


def test_each_hypervisor_has_its_table(path: Path) -> None:
    path.write_text('[kvm.hosts.kvm-1]\nuri = "qemu:///system"\n[simulated]\nlatency = { upload = 0.5 }\n')
    assert read_inventory(path) == {
        "kvm": {"hosts": {"kvm-1": {"uri": "qemu:///system"}}},
        "simulated": {"latency": {"upload": 0.5}},
    }


def test_an_empty_inventory_has_no_tables(path: Path) -> None:
    path.touch()
    assert read_inventory(path) == {}


def test_secrets_come_from_files_and_from_the_environment_wherever_they_stand(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the file\n")
    secret.chmod(0o640)
    monkeypatch.setenv("XEN_PASSWORD", "of the environment ")
    path.write_text(
        f'[xenserver]\npassword = {{env = "XEN_PASSWORD"}}\nlist = [{{file = "{secret}"}}, "plain"]\n'
        f'[xenserver.pools.one]\npassword = {{file = "{secret}"}}\n'
    )
    assert read_inventory(path) == {
        "xenserver": {
            "password": "of the environment ",
            "list": ["of the file", "plain"],
            "pools": {"one": {"password": "of the file"}},
        }
    }


def test_a_table_that_has_more_than_a_secret_s_place_is_an_ordinary_table(path: Path) -> None:
    path.write_text('[kvm]\nkey = {file = "/etc/key", mode = "0600"}\nother = {file = 5}\n')
    assert read_inventory(path) == {"kvm": {"key": {"file": "/etc/key", "mode": "0600"}, "other": {"file": 5}}}


def test_a_missing_inventory_is_reported_with_the_setting(path: Path) -> None:
    caught = error_of(read_inventory, path)
    assert caught.code is PermanentCode.MISCONFIGURED
    assert str(path) in caught.detail
    assert "CONFIGDRIVE_INVENTORY" in caught.remedy


@pytest.mark.parametrize(
    "content",
    [
        b'[kvm]\npassword = "sw0rdfish',
        b"[kvm]\npassword = sw0rdfish",
        b'[kvm]\npassword = "sw0rdfish"\npassword = "sw0rdfish"',
        b'[kvm]\npassword = "sw0rdfish\xff"',
        b'[kvm]\npassword = "sw0rdfish\\q"',
    ],
)
def test_what_is_no_toml_is_reported_with_its_place_and_not_its_text(path: Path, content: bytes) -> None:
    error = misconfigured(path, content)
    assert str(path) in error.detail
    assert "TOML" in error.detail


def test_a_value_outside_of_any_table_is_refused_by_its_name(path: Path) -> None:
    error = misconfigured(path, f'password = "{SECRET}"\n')
    assert "'password'" in error.detail
    assert "[kvm.hosts." in error.remedy


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ('[xenserver.pools.one]\npassword = {file = "FOLDER/no-such-file"}\n', "FOLDER/no-such-file"),
        ('[xenserver.pools]\none = {password = {file = "FOLDER/no-such-file"}}\n', "xenserver.pools.one.password"),
        ('[kvm]\nkeys = [{file = "FOLDER/binary"}]\n', "kvm.keys[0]"),
        ('[vmware.vcenters.one]\npassword = {env = "NO_SUCH_VARIABLE"}\n', "vmware.vcenters.one.password"),
        ('[vmware]\npassword = {env = "NO_SUCH_VARIABLE"}\n', "NO_SUCH_VARIABLE"),
    ],
)
def test_a_secret_that_cannot_be_read_is_reported_with_its_place_and_without_its_content(
    path: Path, tmp_path: Path, content: str, named: str
) -> None:
    (tmp_path / "binary").write_bytes(SECRET.encode() + b"\xff")
    error = misconfigured(path, content.replace("FOLDER", str(tmp_path)))
    assert named.replace("FOLDER", str(tmp_path)) in error.detail
