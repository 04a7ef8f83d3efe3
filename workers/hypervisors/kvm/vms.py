"""Reading domains: one VM with all its definitions as one snapshot, and the users of a file among all VMs of a host."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

import libvirt

from configdrive.errors import TransientCode, TransientError
from configdrive.model import ImageName, PowerState, VmUuid
from workers.hypervisors.kvm.domain_xml import Definition, read_definition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workers.hypervisors.kvm.domain_xml import Source
    from workers.hypervisors.kvm.sessions import Link

_ATTEMPTS: Final = 5
_ALL: Final = "all"
_PERSISTENT: Final = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_PERSISTENT

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
        config: the persistent definition, for the next boot; `None` for a transient domain, and when it was not read.
        is_persistent: whether there is one.
    """

    handle: libvirt.virDomain
    power: PowerState
    live: Definition | None
    saved_xml: str | None
    config: Definition | None
    is_persistent: bool = True

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


def find_domain(link: Link, uuid: VmUuid, *, again: bool = False, config: bool = True) -> Domain | None:
    """Read a VM; `None` when the host does not know it.

    Args:
        link: to the host.
        uuid: the VM's.
        again: a moment after an earlier look, before a change: read what is in its drives, and believe what was seen
            of it then; its power is as good as unknown.
        config: read the persistent definition of a VM that runs as well.

    Raises:
        TransientError: `VM_BUSY` when it changes faster than it can be read.
        libvirt.libvirtError: what the host answered.
    """
    for _ in range(_ATTEMPTS):
        try:
            handle = link.known.vms.get(uuid)
            if handle is None:
                handle = link.known.vms.keep(uuid, link.call(link.connection.lookupByUUIDString, uuid))
            domain = _read(link, handle, again=again, config=config)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                link.known.vms.forget(uuid)
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
        link.known.vms.keep(uuid, handle)
        domain = find_domain(link, uuid)
        if domain is not None:
            yield uuid, domain


def read_next_boots(link: Link) -> Iterator[Definition]:
    """Read what every VM of the host will be at its next boot, or what it is, when it is transient."""
    for handle in link.call(link.connection.listAllDomains, 0):
        try:
            yield read_definition(link.call(handle.XMLDesc, libvirt.VIR_DOMAIN_XML_INACTIVE))
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise


def _read(link: Link, handle: libvirt.virDomain, *, again: bool, config: bool) -> Domain | None:
    """Read one; `None` when it was powered on or off meanwhile."""
    first = read_definition(link.call(handle.XMLDesc, 0))
    if first.runs:
        return _read_running(link, handle, first, again=again, config=config)
    saved_xml = None
    if _flag(link, f"{handle.UUIDString()} saved", partial(handle.hasManagedSaveImage, 0), again=again):
        saved_xml = _read_saved(link, handle)
    power = PowerState.HALTED if saved_xml is None else PowerState.SUSPENDED
    return Domain(handle, power, None, saved_xml, first)


def _read_saved(link: Link, handle: libvirt.virDomain) -> str:
    """Read the definition in a saved state's file, which may be damaged: then nothing but its end starts that VM.

    Raises:
        TransientError: `VM_BUSY`: it is.
        libvirt.libvirtError: what else the host answered.
    """
    try:
        return link.call(handle.managedSaveGetXMLDesc, 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_FAILED:
            raise
        detail = f"the saved state of VM {handle.name()} cannot be read: {error.get_error_message()}"
        remedy = f"discard it: virsh managedsave-remove {handle.UUIDString()}"
        raise TransientError(TransientCode.VM_BUSY, detail, remedy) from error


def _read_running(
    link: Link, handle: libvirt.virDomain, live: Definition, *, again: bool, config: bool
) -> Domain | None:
    states: list[int] = []

    def is_persistent() -> bool:
        """Ask for the state of a VM that is persistent, and for none when it is not: two questions in one."""
        answer = link.connection.domainListGetStats([handle], libvirt.VIR_DOMAIN_STATS_STATE, _PERSISTENT)
        states.extend(int(stats["state.state"]) for _, stats in answer)
        return bool(answer)

    persistent = _flag(link, f"{handle.UUIDString()} {live.id} persistent", is_persistent, again=again)
    if not again and not persistent:
        states.append(int(link.call(handle.state, 0)[0]))
    if libvirt.VIR_DOMAIN_SHUTOFF in states:
        return None
    later = None
    if persistent and config:
        later = read_definition(link.call(handle.XMLDesc, libvirt.VIR_DOMAIN_XML_INACTIVE))
    return Domain(handle, _POWER.get(next(iter(states), -1), PowerState.RUNNING), live, None, later, persistent)


def _flag(link: Link, key: str, ask: Callable[[], object], *, again: bool) -> bool:
    known = link.known.flags.get(key) if again else None
    return link.known.flags.keep(key, bool(link.call(ask))) if known is None else known


def find_user(link: Link, name: ImageName, lies_there: Callable[[Source], bool]) -> str | None:
    """Name a domain of this host that has the image in a drive, running, saved or defined; `None` when nobody has.

    Args:
        link: to the host.
        name: the image.
        lies_there: says whether what is in a drive is the file that is meant.
    """
    media = link.known.media.get(_ALL)
    if media is None:
        media = link.known.media.keep(_ALL, tuple(_media(link)))
    return next((user for user, source in media if source.image == name and lies_there(source)), None)


def _media(link: Link) -> Iterator[tuple[str, Source]]:
    """Give (name, medium) of every image of the fleet in any definition of any domain."""
    for name, text in _definitions(link):
        if ".iso" in text:  # the usual case, without parsing hundreds of definitions
            yield from ((name, disk.source) for _, disk in read_definition(text).fleet_disks if disk.source is not None)


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
                yield domain.name(), _read_saved(link, domain)
        except libvirt.libvirtError as error:
            gone = {libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID}
            if error.get_error_code() not in gone:
                raise


def lies_in(source: Source, directory: PurePosixPath, pool: str) -> bool:
    """Say whether what is in a drive lies in this folder, whichever way the drive names it."""
    if source.path is not None:
        return PurePosixPath(source.path).parent == directory
    return source.pool == pool
