"""The files on a VM's drive, byte by byte. Pure; `configdrive.iso.build` makes an image of them.

The layout is the specification's (`cloudstack/`), and the forms that cloud-init, cloudbase-init, Ignition and
afterburn read (`openstack/latest/`, `ec2/latest/`; NoCloud's in the root of a drive that is labelled for it). A value
that is absent gives no file; its directory is there all the same. Only `latest` stands under `openstack/`: cloud-init
prefers dated directories, and two copies drift.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, final

from pydantic import JsonValue, SecretStr
from typing_extensions import override

from configdrive.contents import cloudstack, nocloud, openstack
from configdrive.contents.network_data import network_data
from configdrive.drive_data import SshKey, VmData, line_problem
from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import DriveSettings, Vm

DEFAULTS: Final = DriveSettings()
"""The settings of a fleet that has set none."""

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

MOST_OF_ITS_OWN: Final = 64 * 2**10
"""Bytes of a file up to which its content is stored for it alone, though another file has the same.

bsdtar, which is the `tar` of Windows and macOS, prints nothing for the second file of a shared content.
"""

MAX_PASSWORD: Final = 511
"""The longest password in bytes: PAM's answers have 512 with the NUL at the end (`PAM_MAX_RESP_SIZE`)."""

OTHERWISE_READ: Final = r"R|RANDOM|\$(1|2[abxy]?|5|6|7|g?y)(\$[^:]+){2}"
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


def render(vm: Vm, data: VmData, password: SecretStr | None, settings: DriveSettings = DEFAULTS) -> Files:
    """Return every file of the drive of `vm`.

    Args:
        vm: whose drive it is; its uuid is cloud-init's instance id.
        data: what its guest finds.
        password: only while one is to be delivered.
        settings: the fleet's.

    Raises:
        PermanentError: `INVALID_CONTENT` or `CONTENT_TOO_LARGE`, naming the field and the remedy, never the value.
    """
    _check_values(data, password)  # the NICs are checked where they become a document
    secret = None if password is None else password.get_secret_value()
    files = cloudstack.files(data, secret) | openstack.files(vm, data, secret, settings)
    if nocloud.is_for(data.label or settings.label):
        files |= nocloud.files(vm, data, secret, settings.vendor_data)
    return Files(files)


def check(data: VmData, password: SecretStr | None) -> None:
    """Refuse, before anything is built, what would not arrive in the guest as it is: what types alone cannot say.

    Raises:
        PermanentError: as `render`.
    """
    _check_values(data, password)
    network_data(data.nics or ())


def _check_values(data: VmData, password: SecretStr | None) -> None:
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

    A key is one in `meta_data.json`, and the name of a file where it can be one. It may not stand for a value that the
    drive has under a name of its own, in whatever case and with hyphens or underscores: readers would find the one or
    the other. Nor may it be `admin_pass`, which cloudbase-init would take for the password before the real one.
    """
    if _same(key) in RESERVED:
        return "the drive has a value of its own under this name; use that field, or rename the key"
    return None


def password_problem(password: str) -> str | None:
    """Say why a password cannot be delivered, with the remedy, or `None` when it can. Never shows the password."""
    if not password:
        return "is empty; leave it out to deliver none"
    problem = line_problem(password)
    if problem is not None:
        return problem
    if len(password.encode("utf-8", "surrogatepass")) > MAX_PASSWORD:
        return f"has more than {MAX_PASSWORD} bytes in UTF-8, which chpasswd does not take; choose a shorter one"
    if re.fullmatch(OTHERWISE_READ, password):
        return "has a form that cloud-init takes for a crypt hash or for an instruction; choose another one"
    return None


def _invalid(field: str, problem: str) -> PermanentError:
    detail, _, remedy = problem.partition("; ")
    return PermanentError(PermanentCode.INVALID_CONTENT, f"{field}: {detail}", remedy)


def _same(key: str) -> str:
    """Return what two keys have in common that must not stand beside each other."""
    return key.lower().replace("_", "-")


RESERVED: Final = frozenset(map(_same, (*cloudstack.METADATA, "public_keys", "admin_pass")))
"""The names that no extra metadata may have, with hyphens and in lower case."""


def _check_keys(keys: tuple[SshKey, ...]) -> None:
    names = set[str]()
    for index, key in enumerate(keys):
        if key.name in names:
            raise _invalid(f"ssh_keys[{index}]", "another key has the same name; give each one its own")
        names.add(key.name)


def _check_extra(extra: Mapping[str, JsonValue]) -> None:
    seen = set[str]()
    for key in extra:
        problem = extra_key_problem(key)
        if problem is None and _same(key) in seen and cloudstack.is_file_name(key):
            problem = "another key differs only in case, hyphens or underscores; rename one of them"
        if problem is not None:
            raise _invalid(f"metadata.extra[{key!r}]", problem)
        seen.add(_same(key))
