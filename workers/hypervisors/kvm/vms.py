"""Reading domains: one VM with all its definitions as one snapshot, and the users of a file among all VMs of a host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

import libvirt

from configdrive.errors import TransientCode, TransientError
from configdrive.model import ImageName, PowerState, VmUuid
from workers.hypervisors.kvm.domain_xml import Definition, read_definition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workers.hypervisors.kvm.domain_xml import Source
    from workers.hypervisors.kvm.sessions import Link

_ATTEMPTS: Final = 5

_POWER: Final = {
    libvirt.VIR_DOMAIN_NOSTATE: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_RUNNING: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_SHUTDOWN: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_CRASHED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: PowerState.SUSPENDED,
    libvirt.VIR_DOMAIN_SHUTOFF: PowerState.HALTED,
}
"""`CRASHED` with a QEMU still there is a guest that stands still; `SHUTDOWN` is a guest on its way down."""


@dataclass(frozen=True, slots=True)
class Domain:
    """One VM on one host, read at one moment.

    Args:
        handle: libvirt's.
        power: the power state; a VM that libvirt has saved to a file (managed save) is suspended.
        live: what runs now; `None` when nothing does.
        saved_xml: the definition in the saved state's file, with which the VM will come back.
        config: the persistent definition, for the next boot; `None` for a transient domain.
    """

    handle: libvirt.virDomain
    power: PowerState
    live: Definition | None
    saved_xml: str | None
    config: Definition | None

    @property
    def saved(self) -> Definition | None:
        """The definition in the saved state's file."""
        return None if self.saved_xml is None else read_definition(self.saved_xml)

    @property
    def layers(self) -> tuple[Definition, ...]:
        """All its definitions, what the guest has first."""
        return tuple(layer for layer in (self.live, self.saved, self.config) if layer is not None)

    @property
    def name(self) -> str:
        """Its name on the host."""
        return self.layers[0].name


def find_domain(link: Link, uuid: VmUuid) -> Domain | None:
    """Read a VM; `None` when the host does not know it.

    Raises:
        TransientError: `VM_BUSY` when it changes faster than it can be read.
        libvirt.libvirtError: what the host answered.
    """
    for _ in range(_ATTEMPTS):
        try:
            handle = link.call(link.connection.lookupByUUIDString, uuid)
            domain = _read(link, handle)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise
        if domain is not None:
            return domain
    raise TransientError(TransientCode.VM_BUSY, f"VM {uuid} is being started and stopped just now")


def read_domains(link: Link) -> Iterator[tuple[VmUuid, Domain]]:
    """Read every VM of the host; one that vanishes meanwhile is not there.

    Raises:
        TransientError, libvirt.libvirtError: as `find_domain`.
    """
    for handle in link.call(link.connection.listAllDomains, 0):
        uuid = VmUuid(handle.UUIDString())
        domain = find_domain(link, uuid)
        if domain is not None:
            yield uuid, domain


def _read(link: Link, handle: libvirt.virDomain) -> Domain | None:
    """Read one; `None` when it was powered on or off meanwhile."""
    active = handle.ID() >= 0
    persistent = bool(link.call(handle.isPersistent))
    live = config = saved_xml = None
    if active:
        live = read_definition(link.call(handle.XMLDesc, 0))
    elif link.call(handle.hasManagedSaveImage, 0):
        saved_xml = link.call(handle.managedSaveGetXMLDesc, 0)
    if persistent:
        config = read_definition(link.call(handle.XMLDesc, libvirt.VIR_DOMAIN_XML_INACTIVE))
    state = int(link.call(handle.state, 0)[0])
    if active == (state == libvirt.VIR_DOMAIN_SHUTOFF) or (live is None and config is None):
        return None
    power = _POWER.get(state, PowerState.RUNNING)
    if not active:
        power = PowerState.HALTED if saved_xml is None else PowerState.SUSPENDED
    return Domain(handle, power, live, saved_xml, config)


def find_user(link: Link, directory: PurePosixPath, pool: str, name: ImageName) -> str | None:
    """Name a domain of this host that has the image in a drive, running, saved or defined; `None` when nobody has.

    Args:
        link: to the host.
        directory: where the image lies.
        pool: the libvirt pool of that directory, for drives that name a pool and a volume.
        name: the image.
    """
    return next((user for user, text in _definitions(link) if _uses(text, directory, pool, name)), None)


def _definitions(link: Link) -> Iterator[tuple[str, str]]:
    """Give (name, XML) of every definition of every domain; one that vanishes meanwhile uses nothing any more."""
    connection = link.connection
    everything = link.call(connection.listAllDomains, 0)
    both = libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE | libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT
    persistent = {one.UUID() for one in link.call(connection.listAllDomains, both)}
    saved = {one.UUID() for one in link.call(connection.listAllDomains, libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)}
    for domain in everything:
        try:
            yield domain.name(), link.call(domain.XMLDesc, 0)
            if domain.UUID() in persistent:
                yield domain.name(), link.call(domain.XMLDesc, libvirt.VIR_DOMAIN_XML_INACTIVE)
            if domain.UUID() in saved:
                yield domain.name(), link.call(domain.managedSaveGetXMLDesc, 0)
        except libvirt.libvirtError as error:
            gone = {libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID}
            if error.get_error_code() not in gone:
                raise


def _uses(text: str, directory: PurePosixPath, pool: str, name: ImageName) -> bool:
    if str(name) not in text:  # the usual case, without parsing hundreds of definitions
        return False
    sources = (disk.source for disk in read_definition(text).disks)
    return any(source is not None and source.image == name and lies_in(source, directory, pool) for source in sources)


def lies_in(source: Source, directory: PurePosixPath, pool: str) -> bool:
    """Say whether what is in a drive lies in this folder, whichever way the drive names it."""
    if source.path is not None:
        return PurePosixPath(source.path).parent == directory
    return source.pool == pool
