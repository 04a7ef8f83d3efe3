"""The files on a VM's drive, byte by byte. Pure; `configdrive.iso.build` makes an image of them.

The layout is the seed's (`cloudstack/`) plus the forms that cloud-init, cloudbase-init, Ignition and afterburn read
(`openstack/latest/`, `ec2/latest/`). A value that is absent gives no file; its directory is there all the same. Only
`latest` stands under `openstack/`: cloud-init prefers dated directories, and two copies drift.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Final, final

from typing_extensions import override

from configdrive.contents import openstack
from configdrive.contents.network_data import network_data
from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import Metadata, SecretStr, SshKey, Vm, VmData

DIRECTORIES: Final = (
    "cloudstack/metadata",
    "cloudstack/password",
    "cloudstack/userdata",
    "ec2/latest",
    "openstack/latest",
)
"""The directories of every drive, also where they hold nothing."""

MAX_BYTES: Final = 64 * 2**20
"""The largest drive, in bytes. Apache CloudStack enforces the same limit (`ConfigDriveBuilder`)."""

MAX_EXTRA_KEY: Final = 60
"""Characters of an extra metadata key: with `.txt` behind it, it must fit the 64 characters of a Joliet name."""

WINDOWS_DEVICE: Final = r"(?i:con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)"
"""The beginning of a name that Windows takes for a device, whatever follows the dot: such a file cannot be opened."""

_METADATA: Final = tuple(field.name for field in fields(Metadata) if field.name != "extra")
_EXTRA_KEY: Final = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_EXTRA_KEY}}}")
_NOT_IN_A_LINE: Final = frozenset({"Cc", "Zl", "Zp", "Cs"})
"""Unicode categories that a one-line value may not have: controls, line and paragraph separators, lone surrogates."""

_CLOUD_INIT_READS_OTHERWISE: Final = re.compile(r"R|RANDOM|\$(1|2[abxy]?|5|6|7|g?y)(\$[^:]+){2}")
"""Passwords that cloud-init (`cc_set_passwords`) does not set as they stand: two words ask it for a random password,
and what has the form of crypt(5) is taken for a hash."""


@final
class Files(Mapping[str, bytes]):
    """Files by their path on the drive (no leading slash). Their bytes may hold a password: never in a repr."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = dict(files)

    @override
    def __getitem__(self, path: str) -> bytes:
        return self._files[path]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    @override
    def __len__(self) -> int:
        return len(self._files)

    @override
    def __repr__(self) -> str:
        return f"Files({sorted(self._files)})"


def render(vm: Vm, data: VmData, password: SecretStr | None) -> Files:
    """Return every file of the drive of `vm`.

    Args:
        vm: whose drive it is; its uuid is cloud-init's instance id.
        data: what the VM is told.
        password: only while one is to be delivered.

    Raises:
        PermanentError: `INVALID_CONTENT` or `CONTENT_TOO_LARGE`, naming the field and the remedy, never the value.
    """
    _check_values(data, password)  # the NICs are checked where they become a document
    secret = None if password is None else password.get_secret_value()
    files = _metadata_files(data)
    if data.user_data is not None:
        user_data = data.user_data.get_secret_value()
        files |= {"cloudstack/userdata/user_data.txt": user_data, "openstack/latest/user_data": user_data}
    if secret is not None:
        files |= _password_files(secret)
    return Files(files | openstack.documents(vm, data, secret))


def check(data: VmData, password: SecretStr | None) -> None:
    """Refuse, before anything is built, what would not arrive in the guest as it is.

    Raises:
        PermanentError: as `render`.
    """
    _check_values(data, password)
    network_data(data.nics or ())


def _check_values(data: VmData, password: SecretStr | None) -> None:
    for name in _METADATA:
        value: str | None = getattr(data.metadata, name)
        problem = None if value is None else _line_problem(value)
        if problem is not None:
            raise _invalid(f"metadata.{name}", problem)
    _check_extra(data.metadata.extra)
    _check_keys(data.ssh_keys)
    if data.user_data is not None and len(data.user_data) > MAX_BYTES:
        raise PermanentError(
            PermanentCode.CONTENT_TOO_LARGE,
            f"user_data: has {len(data.user_data)} bytes; the whole drive may have {MAX_BYTES}",
            "keep large content elsewhere and let the user data fetch it",
        )
    problem = None if password is None else password_problem(password.get_secret_value())
    if problem is not None:
        raise _invalid("password", problem)


def extra_key_problem(key: str) -> str | None:
    """Say why an extra metadata key cannot be taken, with the remedy, or `None` when it can.

    A key becomes a file name and a key in `meta_data.json`. It may not stand for a value that the drive has under a
    name of its own, in whatever case and with hyphens or underscores: readers would find the one or the other. Nor
    may it be `admin_pass`, which cloudbase-init would take for the password before the real one.
    """
    if _EXTRA_KEY.fullmatch(key) is None:
        return f"a key has 1 to {MAX_EXTRA_KEY} letters, digits, '.', '_' and '-'; rename it"
    if re.match(WINDOWS_DEVICE, key):
        return "Windows takes this name for a device and cannot open the file; rename it"
    if _same(key) in _RESERVED:
        return "the drive has a value of its own under this name; use that field, or rename the key"
    return None


def password_problem(password: str) -> str | None:
    """Say why a password cannot be delivered, with the remedy, or `None` when it can. Never shows the password."""
    if not password:
        return "is empty; leave it out to deliver none"
    problem = _line_problem(password)
    if problem is not None:
        return problem
    if _CLOUD_INIT_READS_OTHERWISE.fullmatch(password):
        return "has a form that cloud-init takes for a crypt hash or for an instruction; choose another one"
    return None


def _line_problem(value: str) -> str | None:
    # Printable text has none of them: the usual value is not looked at one character at a time.
    if not value.isprintable() and any(unicodedata.category(character) in _NOT_IN_A_LINE for character in value):
        return "has a control character or a line break; give one line of printable text"
    return None


def _invalid(field: str, problem: str) -> PermanentError:
    detail, _, remedy = problem.partition("; ")
    return PermanentError(PermanentCode.INVALID_CONTENT, f"{field}: {detail}", remedy)


def _same(key: str) -> str:
    """Return what two keys have in common that must not stand beside each other."""
    return key.lower().replace("_", "-")


_RESERVED: Final = frozenset(map(_same, (*_METADATA, "public_keys", "admin_pass")))


def _check_keys(keys: tuple[SshKey, ...]) -> None:
    names = set[str]()
    for index, key in enumerate(keys):
        field = f"ssh_keys[{index}]"
        if not key.name or not key.line:
            raise _invalid(field, "has no name or no key; give both or leave it out")
        problem = _line_problem(key.name) or _line_problem(key.line)
        if problem is not None:
            raise _invalid(field, problem)
        if key.name in names:
            raise _invalid(field, "another key has the same name; give each one its own")
        names.add(key.name)


def _check_extra(extra: tuple[tuple[str, str], ...]) -> None:
    seen = set[str]()
    for index, (key, value) in enumerate(extra):
        problem = extra_key_problem(key)
        if problem is None and _same(key) in seen:
            problem = "another key differs only in case, hyphens or underscores; rename one of them"
        if problem is None and not value.isprintable() and any(map(_is_in_no_text, value)):
            problem = "its value has a NUL character or is no valid Unicode text; give plain text"
        if problem is not None:
            # The key is named only where it is known to be harmless in a log line.
            shown = repr(key) if _EXTRA_KEY.fullmatch(key) else index
            raise _invalid(f"metadata.extra[{shown}]", problem)
        seen.add(_same(key))


def _is_in_no_text(character: str) -> bool:
    return character == "\0" or unicodedata.category(character) == "Cs"


def _metadata_files(data: VmData) -> dict[str, bytes]:
    """Return `cloudstack/metadata/`: no value has a trailing newline, as afterburn does not trim.

    The seed spells the names with underscores; today's guest scripts of CloudStack read them with hyphens.
    """
    values = {name: getattr(data.metadata, name) for name in _METADATA}
    values["public_keys"] = "\n".join(key.line for key in data.ssh_keys)
    spelled = {
        spelling: value for name, value in values.items() if value for spelling in (name, name.replace("_", "-"))
    } | dict(data.metadata.extra)
    return {f"cloudstack/metadata/{name}.txt": value.encode() for name, value in spelled.items()}


def _password_files(secret: str) -> dict[str, bytes]:
    """Return `cloudstack/password/`. The checksum is for CloudStack's Windows script, which fixes the algorithm."""
    encoded = secret.encode()
    checksum = hashlib.md5(encoded, usedforsecurity=False).hexdigest().encode()
    return {
        "cloudstack/password/vm_password.txt": encoded,
        "cloudstack/password/vm_password_md5checksum.txt": checksum,
        "cloudstack/password/vm-password-md5checksum.txt": checksum,
    }
