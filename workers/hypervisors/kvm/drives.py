"""Changing what is in a VM's drives: in what runs, in what is saved, and in what is defined for the next boot.

Order and flags follow from what libvirt and QEMU do (measured, libvirt 9.0 and QEMU 7.2):

* A change with LIVE alone is forgotten at the next boot, and one with CONFIG alone is not seen before it. So one call
  does both wherever both definitions have the drive; it changes the persistent one only if the live change succeeds.
  Where they have not, the persistent one is changed first: who is interrupted attaches again.
* A guest that has mounted the medium holds the tray: the polite change fails after 5 s, and is then forced.
* A CD drive can be added to a running VM on SCSI and USB only; without either the drive comes with the next boot.
* A disk's medium cannot be exchanged: it is unplugged, for which the guest has to help, and a new one is plugged in.
  QEMU makes a disk of a USB CD as well; unplugging that needs nobody's help.
* Where a guest may have no driver for the buses of its machine, a virtio-scsi controller is added for the drive, and
  goes with it.
* A VM that libvirt saved to a file comes back with the definition in that file, so the medium is changed there too.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import libvirt

from configdrive.errors import TransientCode, TransientError
from configdrive.ports import AttachedHow
from workers.hypervisors.kvm.domain_xml import (
    Definition,
    Device,
    Disk,
    StartupPolicy,
    Target,
    disk_xml,
    read_definition,
    scsi_xml,
    with_media,
)
from workers.hypervisors.kvm.slot_choice import keeps_boot
from workers.hypervisors.kvm.slots import (
    Wanted,
    address_in,
    find_plugged,
    find_slot,
    hot_target,
    no_free_slot,
    targets,
)
from workers.hypervisors.kvm.tray import Tray

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from configdrive.model import ImageName, VmUuid
    from workers.hypervisors.kvm.sessions import Link
    from workers.hypervisors.kvm.vms import Domain

LIVE: Final = libvirt.VIR_DOMAIN_AFFECT_LIVE
CONFIG: Final = libvirt.VIR_DOMAIN_AFFECT_CONFIG
INACTIVE: Final = libvirt.VIR_DOMAIN_XML_INACTIVE

_NO_ROOM: Final = ("no more available pci", "no free ")
"""How libvirt says that a running VM has no connector left for another device."""


class Insertion(NamedTuple):
    """How an image came to the guest, on which drive, and whether the fleet has added that drive."""

    how: AttachedHow
    target: Target
    is_ours: bool


class Drives:
    """The drives of one VM.

    Args:
        link: to its host.
        vm: its uuid.
        domain: as it was read just now.
        force: whether a medium is exchanged although the guest holds the tray.
        policy: what libvirt does when it cannot look at an image.
    """

    def __init__(
        self,
        link: Link,
        vm: VmUuid,
        domain: Domain,
        *,
        force: bool,
        policy: StartupPolicy = StartupPolicy.OPTIONAL,
    ) -> None:
        self._link = link
        self._vm = vm
        self._domain = domain
        self._policy = policy
        self._tray = Tray(link, vm, domain.handle, force=force, policy=policy)

    def insert(self, path: str, wanted: Wanted) -> Insertion:
        """Make the file the medium of the config drive, and have no other image of the fleet in any drive.

        Args:
            path: of the image, as the host sees it.
            wanted: what drive.

        Raises:
            PermanentError: `NO_FREE_SLOT`.
            TransientError: `DRIVE_LOCKED`.
        """
        domain = self._domain
        if domain.live is None:
            return self._insert_halted(path, wanted)
        return self._insert_running(domain.live, path, wanted)

    def remove(self, media: Collection[ImageName]) -> None:
        """Take these images out of every drive: a drive that the fleet has added goes, one that it has found stays.

        Each change follows a look of its own: what came into a drive meanwhile is the next event's.

        Raises:
            TransientError: `DRIVE_LOCKED`; `VM_BUSY` when a saved state has it as a disk.
        """
        domain = self._domain
        unplugged = 0 if domain.live is None else self._unplug(domain.live, media)
        if domain.live is not None and not unplugged:
            self._for_each(domain.live, media, partial(self._read, 0), partial(self._take_out, media=media))
        if domain.saved is not None:
            self._change_saved({disk.target.dev: None for disk in _holders(domain.saved, media)})
        if domain.is_persistent and not unplugged & CONFIG:
            config = self._read(INACTIVE) if domain.config is None else domain.config
            self._for_each(config, media, partial(self._read, INACTIVE), self._clear)
            self._drop_scsi(config, [disk for disk in _holders(config, media) if disk.is_ours])

    def _unplug(self, live: Definition, media: Collection[ImageName]) -> int:
        """Unplug the one drive that holds an image, if the fleet has added it and no guest need help.

        Answers the flags of the definitions that are done with: none, the running one's, or both.
        """
        holders = _holders(live, media)
        if len(holders) != 1 or not holders[0].is_ours or holders[0].target.bus != "scsi":
            return 0
        drive, flags = holders[0], LIVE
        config = self._read(INACTIVE) if self._domain.is_persistent else None
        there = None if config is None else config.at(drive.target.dev)
        if there is not None and there.is_ours and there.frame == drive.frame and there.image in media:
            flags |= CONFIG
        self._link.change(self._domain.handle.detachDeviceFlags, drive.xml, flags)
        self._require_gone(drive)
        if config is not None and there is not None and flags & CONFIG:
            self._drop_scsi(config, [there])
        return flags

    @staticmethod
    def _for_each(
        seen: Definition, media: Collection[ImageName], read: Callable[[], Definition], take: Callable[[Disk], None]
    ) -> None:
        """Do something with each drive that holds one of the images, looking again before all but the first."""
        for number, held in enumerate(_holders(seen, media)):
            now = read() if number else seen
            disk = now.at(held.target.dev)
            if disk is not None and disk.image in media:
                take(disk)

    def _read(self, flags: int) -> Definition:
        return read_definition(self._link.call(self._domain.handle.XMLDesc, flags))

    # --- a VM that does not run ------------------------------------------------------------------------------------

    def _insert_halted(self, path: str, wanted: Wanted) -> Insertion:
        config = self._domain.config
        assert config is not None  # noqa: S101  # what neither runs nor is defined is no domain
        done = self._insert_config(config, path, wanted)
        saved = self._domain.saved
        if saved is None:
            return done
        plugged = find_plugged(saved, wanted)
        emptied: dict[str, str | None] = {disk.target.dev: None for _, disk in saved.fleet_disks}
        if plugged is None or plugged.device != Device.CDROM:
            self._change_saved(emptied)
            return done._replace(how=AttachedHow.NEXT_BOOT)
        changed = self._change_saved({**emptied, plugged.target.dev: path})
        return Insertion(AttachedHow.INSERTED, plugged.target, plugged.is_ours) if changed else done

    def _insert_config(self, config: Definition, path: str, wanted: Wanted, first: Target | None = None) -> Insertion:
        slot = find_slot(config, wanted, first)
        if slot is None:
            raise no_free_slot(self._vm, targets(config, wanted))
        others = _others(config, slot.target)
        for disk in others:
            self._clear(disk)
        how, marked = AttachedHow.INSERTED, _may_mark(config, others)
        if slot.disk is None:
            if slot.adds_scsi:
                self._link.change(self._domain.handle.attachDeviceFlags, scsi_xml(config.scsi_of_drive), CONFIG)
            address = address_in(config, slot.target)
            xml = disk_xml(slot.target, path, wanted.device, mark=marked, policy=self._policy, address=address)
            self._link.change(self._domain.handle.attachDeviceFlags, xml, CONFIG)
        elif not slot.disk.holds(path, self._policy):
            self._link.change(self._domain.handle.updateDeviceFlags, slot.disk.with_medium(path, self._policy), CONFIG)
        elif not others:
            how = AttachedHow.ALREADY
        if slot.target.bus != "scsi":
            self._drop_scsi(config, others)
        return Insertion(how, slot.target, marked if slot.disk is None else slot.disk.is_ours)

    # --- a VM that runs --------------------------------------------------------------------------------------------

    def _insert_running(self, live: Definition, path: str, wanted: Wanted) -> Insertion:
        plugged = find_plugged(live, wanted, self._domain.config)
        if plugged is not None and not plugged.holds(path) and not plugged.has_tray:
            plugged = None
        for _, disk in live.fleet_disks:
            if disk != plugged:
                self._take_out(disk)
        if plugged is not None:
            return self._exchange(plugged, path, wanted)
        return self._plug(live, path, wanted)

    def _exchange(self, plugged: Disk, path: str, wanted: Wanted) -> Insertion:
        """Put the image into a drive that the guest has, and into the same one for the next boot."""
        done = Insertion(AttachedHow.INSERTED, plugged.target, plugged.is_ours)
        config, handle, how = self._domain.config, self._domain.handle, AttachedHow.ALREADY
        there = None if config is None else config.at(plugged.target.dev)
        if config is not None and not self._may_hold(config, plugged, there):
            how = self._insert_config(config, path, wanted).how
        elif config is not None:
            for disk in _others(config, plugged.target):
                self._clear(disk)
                how = AttachedHow.INSERTED
            if there is not None and there.frame == plugged.frame and not plugged.holds(path):
                self._tray.change(plugged, path, LIVE | CONFIG)
                return done
            if there is None:
                self._link.change(handle.attachDeviceFlags, plugged.for_config(path, self._policy), CONFIG)
                how = AttachedHow.INSERTED
            elif not there.holds(path):
                self._link.change(handle.updateDeviceFlags, there.with_medium(path, self._policy), CONFIG)
                how = AttachedHow.INSERTED
        if plugged.holds(path):
            return done._replace(how=how)
        self._tray.change(plugged, path, LIVE)
        return done

    @staticmethod
    def _may_hold(config: Definition, plugged: Disk, there: Disk | None) -> bool:
        """Whether the persistent definition has, or takes, the drive that the guest has.

        Not when something else is in its place there, it lacks the controller, or another CD drive would boot no more.
        """
        if there is None:
            fits = plugged.target.bus != "scsi" or config.has_virtio_scsi
            return plugged.device == Device.CDROM and fits and keeps_boot(config, plugged.target)
        same = (there.device, there.target) == (plugged.device, plugged.target)
        return same and (there.is_empty_cd or there.image is not None)

    def _plug(self, live: Definition, path: str, wanted: Wanted) -> Insertion:
        """Add a drive to a VM that has none: for the next boot, and now if it takes one while it runs."""
        config, target = self._domain.config, hot_target(live, self._domain.config, wanted.device)
        later: Insertion | None = None
        if config is not None:
            fits = target is not None and (target.bus != "scsi" or config.has_virtio_scsi)
            later = self._insert_config(config, path, wanted, target if fits else None)
        marked = _may_mark(live)
        if target is not None:
            address = address_in(live, target)
            xml = disk_xml(target, path, wanted.device, mark=marked, policy=self._policy, address=address)
            if self._hot_add(xml):
                return Insertion(AttachedHow.HOT_ADDED, target, marked)
        if later is None:
            raise no_free_slot(self._vm, targets(live, wanted))
        return later._replace(how=AttachedHow.NEXT_BOOT)

    def _hot_add(self, xml: str) -> bool:
        """Plug a drive in now; false when the running VM has no room for it."""
        try:
            self._link.change(self._domain.handle.attachDeviceFlags, xml, LIVE)
        except libvirt.libvirtError as error:
            text = (error.get_error_message() or "").lower()
            if any(words in text for words in _NO_ROOM):
                return False
            raise
        return True

    # --- single changes --------------------------------------------------------------------------------------------

    def _take_out(self, disk: Disk, media: Collection[ImageName] | None = None) -> None:
        """Eject the medium of a drive that the guest has, or unplug what has no tray.

        Args:
            disk: the drive, as it was just now.
            media: what may be taken out, when that is not all.
        """

        def still_there() -> bool:
            now = self._read(0).at(disk.target.dev)
            return now is not None and (media is None or now.image in media)

        if disk.has_tray:
            self._tray.change(disk, None, LIVE, still_there)
            return
        self._link.change(self._domain.handle.detachDeviceFlags, disk.xml, LIVE)
        self._require_gone(disk)

    def _require_gone(self, disk: Disk) -> None:
        now = self._read(0).at(disk.target.dev)
        if now is not None and now.image == disk.image:
            detail = f"the guest of VM {self._vm} does not release its config drive {disk.target.dev}"
            raise TransientError(TransientCode.DRIVE_LOCKED, detail, "unmount it in the guest, or power the VM off")

    def _clear(self, disk: Disk) -> None:
        """Take an image out of the persistent definition: what the fleet has added goes, what it has found is empty."""
        handle = self._domain.handle
        if disk.is_ours or disk.device != Device.CDROM:
            self._link.change(handle.detachDeviceFlags, disk.xml, CONFIG)
        else:
            self._link.change(handle.updateDeviceFlags, disk.with_medium(None), CONFIG)

    def _drop_scsi(self, config: Definition, gone: Collection[Disk]) -> None:
        """Take away the controller that was added for the drive, once nothing is on it."""
        idle = config.idle_scsi(gone)
        if idle is not None:
            self._link.change(self._domain.handle.detachDeviceFlags, idle.xml, CONFIG)

    def _change_saved(self, media: Mapping[str, str | None]) -> bool:
        """Change the media of a VM that was saved to a file, and say whether that was needed.

        Args:
            media: target name -> path; `None` for a drive that becomes empty.
        """
        handle, saved = self._domain.handle, self._domain.saved
        assert saved is not None  # noqa: S101  # looked at by whoever calls
        drives = [(saved.at(dev), path) for dev, path in media.items()]
        wanted = {disk.target.dev: path for disk, path in drives if disk and not (path and disk.holds(path))}
        if any(disk.device == Device.DISK for disk, _ in drives if disk and disk.target.dev in wanted):
            detail = f"VM {self._vm} was saved to a file with its config drive plugged in as a disk"
            remedy = "start it, or discard its saved state (virsh managedsave-remove)"
            raise TransientError(TransientCode.VM_BUSY, detail, remedy)
        if wanted:
            # All of it, as it replaces what is there: without its secrets the VM's console would have no password.
            text = self._link.call(handle.managedSaveGetXMLDesc, libvirt.VIR_DOMAIN_SAVE_IMAGE_XML_SECURE)
            self._link.change(handle.managedSaveDefineXML, with_media(text, wanted, self._policy), 0)
        return bool(wanted)


def _holders(definition: Definition, media: Collection[ImageName]) -> list[Disk]:
    return [disk for image, disk in definition.fleet_disks if image in media]


def _others(config: Definition, target: Target) -> list[Disk]:
    """Give the drives that hold an image of the fleet, or that the fleet has added and nobody uses, but one."""
    ours = [disk for disk in config.disks if disk.image is not None or (disk.is_ours and disk.is_empty_cd)]
    return [disk for disk in ours if disk.target != target]


def _may_mark(definition: Definition, going: Collection[Disk] = ()) -> bool:
    """Whether a drive that is added can bear the mark: two drives cannot have one alias."""
    return not any(disk.is_ours for disk in definition.disks if disk not in going)
