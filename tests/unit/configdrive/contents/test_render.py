"""What stands on the drive: the files' names and bytes, and what is refused."""

import hashlib

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretBytes

from configdrive.contents.cloudstack import METADATA
from configdrive.contents.render import DIRECTORIES, MAX_BYTES
from configdrive.drive_data import Metadata, SshKey, VmData
from configdrive.errors import FleetError, PermanentCode
from tests.drives import KEYS, SEED
from tests.support import error_of
from tests.unit.configdrive.samples import document, render
from tests.unit.strategies import extras, lines, passwords

# `printf %s leading-zeros-1055 | md5sum`: CloudStack's own code loses the zeros.
LEADING_ZEROS = "leading-zeros-1055", b"0006d0e8904af0c4e69738a10951df90"


def refused(data: VmData | None = None, password: str | None = None) -> FleetError:
    caught = error_of(render, data, password)
    assert caught.remedy
    return caught


def test_what_is_absent_gives_no_file() -> None:
    assert set(render()) == {
        "openstack/latest/meta_data.json",
        "openstack/latest/vendor_data.json",
        "ec2/latest/meta-data.json",
    }
    assert set(render(VmData(metadata=Metadata(availability_zone="")))) == set(render())


def test_without_a_password_nothing_speaks_of_one() -> None:
    files = render(VmData(metadata=SEED, ssh_keys=KEYS))
    assert not [path for path in files if "password" in path]
    assert files["openstack/latest/vendor_data.json"] == b"{}"
    assert "admin_pass" not in document(files, "openstack/latest/meta_data.json")


@given(passwords)
@example("12345")
@example("true")
@example("~")
@example(" both ends ")
@example("a: b #c")
@example("\\U0001F600\"'\\")
@example("\N{GRINNING FACE}\N{ZERO WIDTH NO-BREAK SPACE}\ufffe\uffff")
@example("{{ jinja }} ${shell} %(python)s")
def test_every_reader_finds_the_same_password(password: str) -> None:
    files = render(password=password)
    checksum = hashlib.md5(password.encode(), usedforsecurity=False).hexdigest()
    assert files["cloudstack/password/vm_password.txt"] == password.encode()
    assert files["cloudstack/password/vm_password_md5checksum.txt"] == checksum.encode()
    assert files["cloudstack/password/vm-password-md5checksum.txt"] == checksum.encode()
    vendor_data = document(files, "openstack/latest/vendor_data.json")
    assert list(vendor_data) == ["cloud-init"]
    first, rest = vendor_data["cloud-init"].split("\n", 1)
    assert first == "#cloud-config"
    assert yaml.safe_load(rest) == {"password": password, "chpasswd": {"expire": False}, "ssh_pwauth": True}


def test_the_checksum_keeps_its_leading_zeros() -> None:
    password, checksum = LEADING_ZEROS
    assert render(password=password)["cloudstack/password/vm_password_md5checksum.txt"] == checksum


@pytest.mark.parametrize("password", ["R", "RANDOM", "$6$salt$hash", "$2y$10$abc", "$1$a$b$c", "$y$j9T$salt$hash"])
def test_a_password_that_cloud_init_would_not_set_is_refused(password: str) -> None:
    error = refused(password=password)
    assert error.code is PermanentCode.INVALID_CONTENT
    assert password not in str(error).split()


def test_a_password_may_have_as_many_bytes_as_chpasswd_takes() -> None:
    longest = "\N{GRINNING FACE}" * 127 + "abc"
    assert render(password=longest)["cloudstack/password/vm_password.txt"] == longest.encode()
    assert "511 bytes" in str(refused(password=f"{longest}d"))
    assert "password: is empty" in str(refused(password=""))


@pytest.mark.parametrize("password", ["r", "Random", "$6$only", "$x$salt$hash", "RANDOM1", "$6$a$b:c"])
def test_a_password_that_only_resembles_those_is_delivered(password: str) -> None:
    assert render(password=password)["cloudstack/password/vm_password.txt"] == password.encode()


@pytest.mark.parametrize("character", ["\n", "\x07", "\x85", "\u2028", "\u2029", "\ud800"])
def test_a_password_of_more_than_one_line_is_refused_unshown(character: str) -> None:
    value = f"before{character}after"
    error = refused(password=value)
    assert error.code is PermanentCode.INVALID_CONTENT
    assert error.detail.startswith("password: ")
    assert value not in str(error)


@pytest.mark.parametrize(
    "key", ["vm_id", "vm-id", "VM_ID", "VM-ID", "Vm-Id", "public_keys", "PUBLIC-KEYS", "local-ipv4", "admin_pass"]
)
def test_an_extra_key_may_not_stand_for_a_value_of_the_drives_own(key: str) -> None:
    error = refused(VmData(metadata=Metadata(extra={key: "1"})))
    assert error.code is PermanentCode.INVALID_CONTENT
    assert key in error.detail


@pytest.mark.parametrize("other", ["ROLE-NAME", "role-name", "Role_Name"])
def test_two_extra_keys_may_not_be_spellings_of_one(other: str) -> None:
    assert "differs only in case" in str(refused(VmData(metadata=Metadata(extra={"role_name": "1", other: "2"}))))


def test_an_extra_value_may_have_lines() -> None:
    files = render(VmData(metadata=Metadata(extra={"motd": "one\ntwo\n"})))
    assert files["cloudstack/metadata/motd.txt"] == b"one\ntwo\n"


def test_ssh_keys_need_a_name_each() -> None:
    keys = (SshKey("a", "x"), SshKey("a", "y"))
    assert refused(VmData(ssh_keys=keys)).detail.startswith("ssh_keys[1]: another key has the same name")


def test_user_data_larger_than_any_drive_is_refused_by_its_name() -> None:
    error = refused(VmData(user_data=SecretBytes(bytes(MAX_BYTES + 1))))
    assert error.code is PermanentCode.CONTENT_TOO_LARGE
    assert error.detail.startswith("user_data: has 67108865 bytes")


@given(
    st.builds(
        VmData,
        metadata=st.builds(Metadata, **{name: st.none() | lines for name in METADATA}, extra=extras),
        user_data=st.none() | st.binary(max_size=100).map(SecretBytes),
        ssh_keys=st.lists(st.builds(SshKey, lines, lines), max_size=4, unique_by=lambda key: key.name).map(tuple),
    ),
    st.none() | passwords,
)
def test_any_valid_data_reads_back(data: VmData, password: str | None) -> None:
    files = render(data, password)
    assert list(files.items()) == list(render(data, password).items())
    for name in METADATA:
        value = getattr(data.metadata, name)
        for spelling in (name, name.replace("_", "-")):
            assert files.get(f"cloudstack/metadata/{spelling}.txt") == (value.encode() if value else None)
    for key, value in data.metadata.extra.items():
        assert files[f"cloudstack/metadata/{key}.txt"] == str(value).encode()
    for path in ("cloudstack/userdata/user_data.txt", "openstack/latest/user_data"):
        assert files.get(path) == (None if data.user_data is None else data.user_data.get_secret_value())
    if data.ssh_keys:
        found = files["cloudstack/metadata/public_keys.txt"].decode().split("\n")
        assert found == [key.key for key in data.ssh_keys]
    assert all(path.rpartition("/")[0] in DIRECTORIES for path in files)
    assert "network_data.json" not in "".join(files)
    meta_data = document(files, "openstack/latest/meta_data.json")
    assert meta_data.get("meta", {}) == dict(data.metadata.extra)
    assert isinstance(document(files, "ec2/latest/meta-data.json"), dict)


def test_secrets_are_not_in_the_repr() -> None:
    shown = repr(render(VmData(user_data=SecretBytes(b"sw0rdfish-1")), "sw0rdfish-2"))
    assert "cloudstack/password/vm_password.txt" in shown
    assert "sw0rdfish" not in shown
