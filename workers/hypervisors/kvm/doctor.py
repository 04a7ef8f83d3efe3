"""The questions of `configdrive doctor` to a KVM host: each finding with its remedy. Raises and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import asyncssh

from configdrive.errors import FleetError
from configdrive.model import IMAGE_FOLDER
from configdrive.ports import Check
from workers.hypervisors.kvm.access import Access, capabilities
from workers.hypervisors.kvm.domain_xml import Device
from workers.hypervisors.kvm.faults import translated
from workers.hypervisors.kvm.image_folder import WRITABLE, VolumeFolder, probe_name
from workers.hypervisors.kvm.inventory import StorageRoute
from workers.hypervisors.kvm.storages import HOST_CACHE
from workers.hypervisors.kvm.visit import REPEATED
from workers.hypervisors.kvm.vms import read_next_boots

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from workers.driverkit.ssh import Sftp
    from workers.hypervisors.kvm.records import Pool
    from workers.hypervisors.kvm.visit import Host, Visit

_SHOWN: Final = 3
"""VMs that are named in a finding about many."""

OLDEST: Final = 6_000_000
"""libvirt 6.0, of 2020: the oldest whose answers the driver's table of errors was made for."""


def diagnose(host: Host, others: Collection[Host]) -> Iterator[Check]:
    """Try the connection, the version, every pool, and SFTP when the inventory has it.

    Args:
        host: the one to try.
        others: of the inventory; none of those that were tried before may be this one.
    """
    subject = f"kvm host {host.name}"
    try:
        with translated(f"host {host.name}"), host.visit() as visit:
            findings = [_version(subject, visit), _identity(f"{subject}, identity", host, visit, others)]
            findings += (_pool(subject, visit, pool, host.sftp) for pool in visit.storages.pools)
            if not any(pool.holds_files for pool in visit.storages.pools):
                findings.append(_no_pool(subject, host))
            findings += _vms(subject, visit)
    except FleetError as error:
        yield _bad(subject, error, "see whether libvirtd runs there")
    else:
        yield from findings
    if host.sftp is not None:
        yield _ssh(subject, host, host.sftp)


def _version(subject: str, visit: Visit) -> Check:
    link = visit.link
    version = link.call(link.connection.getLibVersion)
    text = f"libvirt {version // 1_000_000}.{version // 1000 % 1000}.{version % 1000} answers"
    if version < OLDEST:
        return Check(subject, ok=False, detail=f"{text}: too old", remedy="upgrade libvirt to 6.0 or newer")
    return Check(subject, ok=True, detail=text)


def _identity(subject: str, host: Host, visit: Visit, others: Collection[Host]) -> Check:
    same = [other.name for other in others if other.identity == visit.host_id]
    if same:
        detail = f"is the same host as {', '.join(sorted(same))}, by its uuid {visit.host_id}"
        remedy = (
            "leave one of them in the inventory; if they are two machines whose boards bear one uuid, give each a"
            " 'host_uuid' of its own (uuidgen)"
        )
        return Check(subject, ok=False, detail=detail, remedy=remedy)
    if host.table.host_uuid is None and capabilities(visit.link).uuid in REPEATED:
        detail = f"is known as {visit.host_id}: thousands of boards bear its uuid; better give it a 'host_uuid'"
        return Check(subject, ok=True, detail=detail)
    return Check(subject, ok=True, detail=f"is known by the uuid {visit.host_id}")


def _pool(subject: str, visit: Visit, pool: Pool, sftp: Sftp | None) -> Check:
    if pool.is_left:
        return _left(f"{subject}, pool configdrive-{pool.name}", visit, pool)
    subject = f"{subject}, pool {pool.name}"
    if not pool.holds_files:
        cache = visit.table.cache_directory
        return Check(subject, ok=True, detail=f"type {pool.kind} holds no files: its VMs' images go to {cache}")
    if not pool.active:
        remedy = f"virsh pool-start {pool.name} && virsh pool-autostart {pool.name}, or undefine it"
        return Check(subject, ok=False, detail="is not active: VMs on it get no config drive", remedy=remedy)
    link = _link(subject, pool, sftp)
    if link is not None:
        return link
    try:
        with translated(subject):
            place = visit.storages.named(pool.name)
            folder = visit.storages.folder(place)
            images = len(tuple(visit.storages.images(place)))
            access = folder.probe()
    except FleetError as error:
        return _bad(subject, error, f"look at {pool.target} on the host")
    seen = "shared" if place.host is None else "local"
    found = f"active, {seen}, {images} images of the fleet; {access}"
    if pool.mode & WRITABLE and isinstance(folder, VolumeFolder):
        found += (
            f"; others may write into {pool.target} (mode {pool.mode:o}), and put a link in place of the folder, which"
            " libvirt follows and does not show: take that from them, or give the host storage_route = 'sftp'"
        )
    return _unreadable(subject, visit, access) or Check(subject, ok=True, detail=found)


def _left(subject: str, visit: Visit, pool: Pool) -> Check:
    """Say what lies in the directory of a pool that is no more, as long as libvirt knows our own pool there."""
    folder = f"{pool.target}/{IMAGE_FOLDER}"
    try:
        with translated(subject):
            images = len(tuple(visit.storages.images(visit.storages.named(pool.name))))
    except FleetError as error:
        return _bad(subject, error, f"look at {folder} on the host")
    detail = f"the pool {pool.name} is no more, and {images or 'no'} images of the fleet lie in {folder} still"
    remedy = "`configdrive sweep` deletes those that no VM needs" if images else "nothing is left to do"
    return Check(subject, ok=True, detail=f"{detail}: {remedy}")


def _link(subject: str, pool: Pool, sftp: Sftp | None) -> Check | None:
    """Say that the folder is a link, which libvirt follows and does not show, as far as SFTP tells."""
    folder = str(pool.target / IMAGE_FOLDER) if pool.target is not None else ""

    async def work(client: asyncssh.SFTPClient) -> bool:
        return await client.islink(folder)

    try:
        linked = sftp is not None and sftp.run(work)
    except (FleetError, asyncssh.SFTPError):  # whether SFTP works is another finding
        return None
    if not linked:
        return None
    return Check(subject, ok=False, detail=f"{folder} is a symbolic link", remedy="see who made it, and remove it")


def _unreadable(subject: str, visit: Visit, access: Access) -> Check | None:
    """Say that QEMU's user cannot read what is written there, unless libvirt can give it away when a VM starts."""
    host = capabilities(visit.link)
    if host.user is None or host.group is None or access.allows(host.user, host.group):
        return None
    if access.mode & 0o040 and access.group is not None and access.group > 0:
        return None  # it may be in that group
    detail = f"QEMU's user ({host.user}:{host.group}) cannot read an image there ({access})"
    remedy = (
        "give 'image_owner', 'image_group' or 'image_mode' of this host in the inventory; an NFS export that squashes"
        ' root needs image_mode = "0644" (who reads the files there reads passwords), or no_root_squash'
    )
    return Check(subject, ok=False, detail=detail, remedy=remedy)


def _no_pool(subject: str, host: Host) -> Check:
    cache = host.table.cache_directory
    return Check(subject, ok=True, detail=f"has no pool that holds files: all images go to {cache}")


def _vms(subject: str, visit: Visit) -> Iterator[Check]:
    """Say which VMs are exceptions: of those that have no config drive yet nothing else would say so beforehand."""
    diskless, linked, whole = [], [], []
    for definition in read_next_boots(visit.link):
        root, storage = definition.root_disk, visit.storages.of_root_disk(definition)
        if root is None or storage is None:
            diskless.append(definition.name)
        elif storage.storage == HOST_CACHE and root.device != Device.DISK:
            whole.append(definition.name)
        elif storage.storage == HOST_CACHE and root.source is not None and _is_file(root.source.path):
            linked.append(definition.name)
    cache = visit.table.cache_directory
    if diskless:
        detail = f"have no disk, so it is not known where their images belong: {_some(diskless)}"
        remedy = (
            f"let their events name 'primary_storage': a pool, or {HOST_CACHE} for {cache}; else each start is parked"
        )
        yield Check(f"{subject}, VMs without a disk", ok=True, detail=detail, remedy=remedy)
    if linked:
        detail = (
            f"have their root disk in no pool of files, by its path, so their images go to {cache}: {_some(linked)}"
        )
        remedy = (
            "if a path leads into a pool by a symbolic link, give the host the table 'ssh', which tells where links"
            " lead, or name the pool's directory by the same path; or let events name 'primary_storage'"
        )
        yield Check(f"{subject}, VMs in no pool", ok=True, detail=detail, remedy=remedy)
    if whole:
        detail = f"boot from a whole SCSI disk, so their images go to {cache}, not to data disks' pools: {_some(whole)}"
        remedy = f"see that {cache} has room, and is the same path on all hosts; or let events name 'primary_storage'"
        yield Check(f"{subject}, VMs on a LUN", ok=True, detail=detail, remedy=remedy)


def _is_file(path: str | None) -> bool:
    return path is not None and not path.startswith("/dev/")


def _some(names: list[str]) -> str:
    more = "" if len(names) <= _SHOWN else f" and {len(names) - _SHOWN} more"
    return ", ".join(sorted(names)[:_SHOWN]) + more


def _ssh(subject: str, host: Host, sftp: Sftp) -> Check:
    needed = (
        "the cache directory and the pools" if host.table.storage_route is StorageRoute.SFTP else "the cache directory"
    )
    directory = host.table.cache_directory
    subject = f"{subject}, ssh"

    async def work(client: asyncssh.SFTPClient) -> str:
        path = str(directory)
        while not await client.isdir(path):  # it is made with the first image: then what is above must be writable
            path = path.rsplit("/", 1)[0] or "/"
        probe = f"{path.rstrip('/')}/.{probe_name()}"
        async with client.open(probe, "wb", asyncssh.SFTPAttrs(permissions=0o600)):
            pass
        await client.remove(probe)
        return path

    try:
        with translated(subject):
            written = sftp.run(work)
    except FleetError as error:
        return _bad(subject, error, f"let the user of the table 'ssh' write into {directory}")
    return Check(subject, ok=True, detail=f"SFTP works for {needed}; {written} is writable")


def _bad(subject: str, error: FleetError, remedy: str) -> Check:
    return Check(subject, ok=False, detail=error.detail, remedy=error.remedy or remedy)
