"""The inventory's `[kvm]` table: its fields, their limits, and the error that names the wrong one with the remedy.

[kvm.hosts.kvm-01]
uri = "qemu+libssh2://root@kvm-01.example/system"

[kvm.hosts.kvm-01.ssh]
host = "kvm-01.example"
key_file = "/etc/configdrive/id_ed25519"
known_hosts = "/etc/configdrive/known_hosts"
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from configdrive.model import UUID_PATTERN
from workers.driverkit.tables import AbsolutePath, Name, SshTable, Table, parse_section
from workers.hypervisors.kvm.domain_xml import StartupPolicy
from workers.hypervisors.kvm.uris import is_ssh, names_keys, uri_problem, with_ssh

if TYPE_CHECKING:
    from collections.abc import Mapping

_Target = Annotated[
    str, StringConstraints(pattern=r"^(?:ide:hd[a-d]|sata:sd[a-z]|scsi:sd[a-z]|usb:sd[a-z]|hd[a-d]|sd[a-z])$")
]


def _uri(uri: str) -> str:
    problem = uri_problem(uri)
    if problem is not None:
        code = "uri"
        raise PydanticCustomError(code, "{problem}", {"problem": problem})
    return uri


class StorageRoute(StrEnum):
    """How an image file comes onto a pool that holds files.

    `volume`: as a libvirt volume. `sftp`: as a file, renamed when it is whole. `auto`: shared pools by SFTP where the
    host has a table `ssh`, all else as volumes. Another host's changes on a shared pool are seen by libvirt only after
    reading every file's header again; SFTP sees them at once.
    """

    AUTO = "auto"
    VOLUME = "volume"
    SFTP = "sftp"


class PoolTable(Table):
    """`[kvm.hosts.<name>.pools.<pool>]`. A storage must have the same pool name on all hosts that share it.

    Args:
        shared: whether every host that has a pool of this name sees the same files. Left out: so for netfs pools.
    """

    shared: bool | None = None


class HostTable(Table):
    """`[kvm.hosts.<name>]`.

    Args:
        uri: libvirt's: `qemu:///system`, `qemu+tls://host/system`, `qemu+libssh2://user@host/system`, or `qemu+tcp://`
            to a loopback address.
        cd_targets: the devices that a config drive may be, the first choice first: `hdd`, or with the bus
            `scsi:sdb`. Left out: chosen for each VM from its machine type.
        cache_directory: on the host; holds the images of VMs whose pools hold no files (RBD, LVM, iSCSI).
        storage_route: see `StorageRoute`. Choose `sftp` for pools with tens of thousands of images: after every upload
            libvirt reads the header of every file in that folder, a 32nd of the images (28 us for each).
        connections: to this host's libvirtd, per worker process, at most.
        ssh: needed for `sftp` routes and for the cache directory (without it the cache is made a libvirt pool).
        pools: what cannot be seen from libvirt.
        image_owner, image_group, image_mode: numbers of the user and group to whom image files belong, and their mode
            such as "0640". Left out: the pool's owner when that is not root, else QEMU's user as libvirt knows it, and
            "0600".
        startup_policy: what libvirt does with a VM when it cannot look at its image: `optional` starts it with an empty
            drive, which is filled when the image is there again; `requisite` does not start it, but lets it arrive from
            another host or a snapshot; `mandatory` does neither.
        host_uuid: what the host is known by, instead of the uuid that its libvirt reports: for boards that all bear the
            same one, or that libvirt makes up anew at each start (`configdrive doctor` says so).
    """

    uri: Annotated[str, AfterValidator(_uri)]
    cd_targets: tuple[_Target, ...] = Field(default=(), max_length=16)
    cache_directory: AbsolutePath = Path("/var/cache/configdrive")
    storage_route: StorageRoute = StorageRoute.AUTO
    connections: int = Field(default=4, ge=1, le=64)
    ssh: SshTable | None = None
    pools: dict[Name, PoolTable] = Field(default_factory=dict)
    image_owner: Annotated[int, Field(ge=0)] | None = None
    image_group: Annotated[int, Field(ge=0)] | None = None
    image_mode: Annotated[str, StringConstraints(pattern=r"^0?[0-7][0-7][0-7]$")] | None = None
    startup_policy: StartupPolicy = StartupPolicy.OPTIONAL
    host_uuid: Annotated[str, StringConstraints(pattern=rf"(?i)^{UUID_PATTERN}$", to_lower=True)] | None = None

    @model_validator(mode="after")
    def _ssh_is_known(self) -> Self:
        code = "ssh"
        if self.storage_route is StorageRoute.SFTP and self.ssh is None:
            raise PydanticCustomError(code, "storage_route 'sftp' needs the table 'ssh' of this host")
        if is_ssh(self.uri) and self.ssh is None and not names_keys(self.uri):
            raise PydanticCustomError(
                code, "an ssh URI needs the table 'ssh' of this host, with key_file and known_hosts"
            )
        return self

    @property
    def libvirt_uri(self) -> str:
        """The URI as libvirt gets it: over SSH with the key and the strict host key check of the `ssh` table."""
        if not is_ssh(self.uri):
            return self.uri
        return with_ssh(self.uri) if self.ssh is None else with_ssh(self.uri, self.ssh.key_file, self.ssh.known_hosts)


class Section(Table):
    """The whole table: at least one host."""

    hosts: dict[Name, HostTable] = Field(min_length=1)


def parse(section: Mapping[str, object]) -> Section:
    """Read the table.

    Raises:
        PermanentError: `MISCONFIGURED`, with the first wrong field and what is wrong with it.
    """
    return parse_section(Section, "kvm", section)
