"""The inventory's `[xenserver]` table: its fields, their limits, and the error that names the wrong one.

[xenserver.pools.pool-01]
user = "root"
password = {file = "/run/secrets/pool-01"}
ca_file = "/etc/configdrive/pool-01.pem"

[xenserver.hosts.xs-01]
pool = "pool-01"
url = "https://xs-01.example"
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from workers.driverkit.tables import AbsolutePath, Address, Name, SshTable, Table, parse_section

if TYPE_CHECKING:
    from collections.abc import Mapping

_Folder = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


def _https(url: str) -> str:
    code = "url"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise PydanticCustomError(code, "is not a URL; an example: https://xs-01.example") from None
    if parts.scheme != "https" or not host:
        raise PydanticCustomError(code, "must be https://<host>[:<port>]: the password goes over it")
    if parts.username or parts.password or parts.path not in {"", "/"} or parts.query:
        raise PydanticCustomError(code, "must be https://<host>[:<port>] and nothing more")
    return url


def _fingerprint(text: str) -> str:
    plain = text.lower().removeprefix("sha256:").replace(":", "")
    if not _FINGERPRINT.fullmatch(plain):
        code = "fingerprint"
        raise PydanticCustomError(code, "must be a SHA-256 fingerprint: 64 hexadecimal digits, with or without colons")
    return plain


class StorageRoute(StrEnum):
    """How an image comes into an ISO SR: by HTTPS through XAPI, or as a file in dom0 by SFTP and `SR.scan`."""

    IMPORT = "import"
    SFTP = "sftp"


class IdentifyBy(StrEnum):
    """By what a VM is known.

    `uuid`: by XAPI's, which events carry. `uuid-or-label`: where an orchestrator's uuids are not XAPI's, by its name
    label too; refused when several VMs have that label, or when the one that has it was marked for another uuid.
    """

    UUID = "uuid"
    UUID_OR_LABEL = "uuid-or-label"


class TlsTable(Table):
    """How a host's certificate is verified; at most one of the three. None: the system's certificate authorities.

    Args:
        ca_file: the certificates (PEM) of the authority that signed it, or the self-signed certificate itself.
        fingerprint: SHA-256 of the certificate; its name and dates are not looked at then.
        verify_tls: false sends the password to whoever answers; a warning says so at each start.
    """

    ca_file: Path | None = None
    fingerprint: Annotated[str, AfterValidator(_fingerprint)] | None = None
    verify_tls: bool = True

    @property
    def says_how(self) -> bool:
        """Whether anything is said at all."""
        return self.ca_file is not None or self.fingerprint is not None or not self.verify_tls

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum((self.ca_file is not None, self.fingerprint is not None, not self.verify_tls)) > 1:
            code = "tls"
            raise PydanticCustomError(code, "give one of ca_file, fingerprint and verify_tls = false")
        return self


class PoolTable(TlsTable):
    """`[xenserver.pools.<name>]`. A host without a pool is a pool of one.

    Args:
        user, password: of an account that may manage VMs and storages (role pool-operator).
        storage_route: see `StorageRoute`.
        identify_by: see `IdentifyBy`.
        fallback_sr: name label or uuid of an NFS SR. It takes the images of VMs that HA restarts, when their root disk
            lies where each host has its own images (LVM, iSCSI, Fibre Channel): XAPI refuses those.
        second_cd: whether a VM with a CD drive of its own gets the config drive as a second CD, at 2 or 1. Turned off,
            it is a read-only disk: for pools whose guests see one CD only. XAPI snapshots no VM with such a disk.
        borrow_empty_cd: whether a running VM without a config drive gets the image into a CD drive of its own that is
            empty, until it stops.
        sessions: of this pool, per worker process, at most; also the number of its connections.
        folder: the images' folder on a storage that holds files. Made by SFTP where the hosts have a table `ssh`;
            otherwise make it yourself: `configdrive doctor` says where.
        cache_directory: in dom0; has a folder for each storage that holds no files (LVM, iSCSI, Fibre Channel).
    """

    user: Annotated[str, StringConstraints(min_length=1, max_length=255)] = "root"
    password: SecretStr
    storage_route: StorageRoute = StorageRoute.IMPORT
    identify_by: IdentifyBy = IdentifyBy.UUID
    fallback_sr: Name | None = None
    second_cd: bool = True
    borrow_empty_cd: bool = False
    sessions: int = Field(default=4, ge=1, le=64)
    folder: _Folder = "configdrive"
    cache_directory: AbsolutePath = Path("/var/opt/xen/configdrive")


class HostTable(TlsTable):
    """`[xenserver.hosts.<name>]`. What it says of TLS goes before what its pool says.

    Args:
        pool: its pool's name in the inventory.
        url: of its XAPI.
        address: how the pool itself calls it (in `HOST_IS_SLAVE` and in redirects), when that is not the URL's host.
            Passwords and images go to the addresses in the inventory only.
        name_label: its name in XAPI; left out, the name in the inventory. Its uuid does as well.
        ssh: needed for `storage_route = "sftp"`, and to have folders made.
    """

    pool: Name
    url: Annotated[str, AfterValidator(_https)]
    address: Address | None = None
    name_label: Name | None = None
    ssh: SshTable | None = None

    @property
    def netloc(self) -> tuple[str, int]:
        """Host and port of the URL."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 443


class Section(Table):
    """The whole table: at least one host, and a pool for each."""

    pools: dict[Name, PoolTable] = Field(min_length=1)
    hosts: dict[Name, HostTable] = Field(min_length=1)

    @model_validator(mode="after")
    def _pools_are_known(self) -> Self:
        code = "pool"
        for name, host in self.hosts.items():
            pool = self.pools.get(host.pool)
            if pool is None:
                raise PydanticCustomError(code, "host {name}: there is no such pool", {"name": name})
            if pool.storage_route is StorageRoute.SFTP and host.ssh is None:
                raise PydanticCustomError(code, "host {name}: storage_route 'sftp' needs a table 'ssh'", {"name": name})
        return self


def parse(section: Mapping[str, object]) -> Section:
    """Read the table.

    Raises:
        PermanentError: `MISCONFIGURED`, with the first wrong field and what is wrong with it.
    """
    return parse_section(Section, "xenserver", section)
