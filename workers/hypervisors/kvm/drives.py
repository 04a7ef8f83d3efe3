"""Changing what is in a VM's drives: in what runs, in what is saved, and in what is defined for the next boot.

Order and flags follow from what libvirt and QEMU do (measured, libvirt 9.0 and QEMU 7.2):

* A change with LIVE alone is forgotten at the next boot, and one with CONFIG alone is not seen before it. So one call
  does both wherever both definitions have the drive; it changes the persistent one only if the live change succeeds.
  Where they have not, the persistent one is changed first: who is interrupted attaches again.
* A guest that has mounted the medium holds the tray: the polite change fails after 5 s, and is then forced.
* A CD drive can be added to a running VM on SCSI and USB only; without either the drive comes with the next boot.
* A disk's medium cannot be exchanged: it is unplugged, for which the guest has to help, and a new one is plugged in.
  QEMU makes a disk of a USB CD as well; unplugging that needs nobody's help.
* A VM that libvirt saved to a file comes back with the definition in that file, so the medium is changed there too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeAlias

import libvirt

from configdrive.errors import TransientCode, TransientError
from configdrive.ports import AttachedHow
from workers.hypervisors.kvm.domain_xml import (
    Definition,
    Device,
    Disk,
    Target,
    disk_xml,
    read_definition,
    with_medium,
)
from workers.hypervisors.kvm.slots import find_plugged, find_slot, hot_target, no_free_slot, own_slots, targets
from workers.hypervisors.kvm.tray import Tray

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from configdrive.model import VmUuid
    from workers.hypervisors.kvm.sessions import Link
    from workers.hypervisors.kvm.vms import Domain

LIVE: Final = libvirt.VIR_DOMAIN_AFFECT_LIVE
CONFIG: Final = libvirt.VIR_DOMAIN_AFFECT_CONFIG

_NO_ROOM: Final = ("no more available pci", "no free ")
"""How libvirt says that a running VM has no connector left for another device."""


Insertion: TypeAlias = tuple[AttachedHow, Target]
"""How an image came to the guest, and on which drive."""


class Drives:
    """The drives of one VM.

    Args:
        link: to its host.
        vm: its uuid.
        domain: as it was read just now.
        force: whether a medium is exchanged although the guest holds the tray.
    """

    def __init__(self, link: Link, vm: VmUuid, domain: Domain, *, force: bool) -> None:
        self._link = link
        self._vm = vm
        self._domain = domain
        self._tray = Tray(link, vm, domain.handle, force=force)

    def insert(self, path: str, device: Device, wanted: tuple[str, ...]) -> Insertion:
        """Make the file the medium of the config drive, and of no other drive.

        Args:
            path: of the image, as the host sees it.
            device: CD or disk.
            wanted: the inventory's `cd_targets`.

        Raises:
            PermanentError: `NOT_ITS_DRIVE`, `NO_FREE_SLOT`.
            TransientError: `DRIVE_LOCKED`.
        """
        domain = self._domain
        for layer in domain.layers:
            own_slots(layer, self._vm)  # refuses another VM's image, before anything is changed
        if domain.live is None:
            return self._insert_halted(path, device, wanted)
        return self._insert_running(domain.live, path, device, targets(domain.live, wanted, device))

    def remove_all(self) -> None:
        """Leave no image of the fleet in any drive, whosever it is; the persistent definition loses the drive as well.

        Raises:
            TransientError: `DRIVE_LOCKED`; `VM_BUSY` when a saved state has it as a disk.
        """
        domain = self._domain
        if domain.config is not None:
            self._without(domain.config, (disk for _, disk in domain.config.fleet_disks))
        if domain.live is not None:
            for _, disk in domain.live.fleet_disks:
                self._take_out(disk)
        self._change_saved({})

    # --- a VM that does not run ------------------------------------------------------------------------------------

    def _insert_halted(self, path: str, device: Device, wanted: tuple[str, ...]) -> Insertion:
        config = self._domain.config
        assert config is not None  # noqa: S101  # what neither runs nor is defined is no domain
        done = self._insert_config(config, path, device, targets(config, wanted, device))
        saved = self._domain.saved
        if saved is None:
            return done
        plugged = find_plugged(saved, targets(saved, wanted, device), self._vm, device)
        if plugged is None or plugged.device != Device.CDROM:
            self._change_saved({})
            return AttachedHow.NEXT_BOOT, done[1]
        changed = self._change_saved({plugged.target.dev: path})
        return (AttachedHow.INSERTED, plugged.target) if changed else done

    def _insert_config(self, config: Definition, path: str, device: Device, choices: tuple[Target, ...]) -> Insertion:
        slot = find_slot(config, choices, self._vm, device)
        if slot is None:
            raise no_free_slot(self._vm, choices)
        others = [disk for disk in own_slots(config, self._vm) if disk.target != slot.target]
        self._without(config, others)
        if _holds(slot.disk, path):
            return AttachedHow.INSERTED if others else AttachedHow.ALREADY, slot.target
        handle, xml = self._domain.handle, disk_xml(slot.target, path, device)
        if slot.disk is None:
            self._link.change(handle.attachDeviceFlags, xml, CONFIG)
        else:
            self._link.change(handle.updateDeviceFlags, xml, CONFIG)
        return AttachedHow.INSERTED, slot.target

    # --- a VM that runs --------------------------------------------------------------------------------------------

    def _insert_running(self, live: Definition, path: str, device: Device, choices: tuple[Target, ...]) -> Insertion:
        plugged = find_plugged(live, choices, self._vm, device)
        if plugged is not None and not _holds(plugged, path) and not plugged.has_tray:
            plugged = None
        for disk in own_slots(live, self._vm):
            if disk != plugged:
                self._take_out(disk)
        if plugged is not None:
            return self._exchange(plugged, path, device, choices)
        return self._plug(live, path, device, choices)

    def _exchange(self, plugged: Disk, path: str, device: Device, choices: tuple[Target, ...]) -> Insertion:
        """Put the image into a drive that the guest has."""
        config, target = self._domain.config, plugged.target
        both = config is not None and self._align(config, plugged)
        if _holds(plugged, path):
            if config is None:
                return AttachedHow.ALREADY, target
            there = config.at(target.dev)
            if both and _holds(there, path):
                return AttachedHow.ALREADY, target
            if both:
                self._link.change(self._domain.handle.updateDeviceFlags, disk_xml(target, path, device), CONFIG)
                return AttachedHow.INSERTED, target
            return self._insert_config(config, path, device, choices)[0], target
        if config is not None and not both:
            self._insert_config(config, path, device, choices)
        self._tray.change(plugged, path, LIVE | CONFIG if both else LIVE)
        return AttachedHow.INSERTED, target

    def _align(self, config: Definition, plugged: Disk) -> bool:
        """See that the persistent definition has the drive that the guest has, and no other of ours.

        False when it cannot: something else is in its place there, or it lacks the controller.
        """
        target, there = plugged.target, config.at(plugged.target.dev)
        if there is None:
            can_be_added = plugged.device == Device.CDROM and (target.bus != "scsi" or config.has_virtio_scsi)
            if not can_be_added:
                return False
            self._link.change(self._domain.handle.attachDeviceFlags, disk_xml(target, None), CONFIG)
        elif (there.device, there.target) != (plugged.device, target) or not (there.is_empty_cd or there.image):
            return False
        self._without(config, (disk for disk in own_slots(config, self._vm) if disk.target != target))
        return True

    def _plug(self, live: Definition, path: str, device: Device, choices: tuple[Target, ...]) -> Insertion:
        """Add a drive to a VM that has none: for the next boot, and now if it takes one while it runs."""
        config, target = self._domain.config, hot_target(live, self._domain.config, device)
        later: Target | None = None
        if config is not None:
            fits = target is not None and (target.bus != "scsi" or config.has_virtio_scsi)
            wanted = (target, *choices) if fits and target is not None else choices
            later = self._insert_config(config, path, device, wanted)[1]
        if target is not None and self._hot_add(disk_xml(target, path, device)):
            return AttachedHow.HOT_ADDED, target
        if later is None:
            raise no_free_slot(self._vm, choices)
        return AttachedHow.NEXT_BOOT, later

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

    def _take_out(self, disk: Disk) -> None:
        """Eject the medium of a drive that the guest has, or unplug what has no tray."""
        if disk.has_tray:
            self._tray.change(disk, None, LIVE)
            return
        handle = self._domain.handle
        self._link.change(handle.detachDeviceFlags, _xml_of(disk), LIVE)
        if read_definition(self._link.call(handle.XMLDesc, 0)).at(disk.target.dev) is not None:
            detail = f"the guest of VM {self._vm} does not release its config drive {disk.target.dev}"
            raise TransientError(TransientCode.DRIVE_LOCKED, detail, "unmount it in the guest, or power the VM off")

    def _without(self, config: Definition, disks: Iterable[Disk]) -> Definition:
        """Take drives out of the persistent definition, and return what is left of it."""
        for disk in disks:
            self._link.change(self._domain.handle.detachDeviceFlags, _xml_of(disk), CONFIG)
            config = replace(config, disks=tuple(other for other in config.disks if other != disk))
        return config

    def _change_saved(self, media: Mapping[str, str]) -> bool:
        """Change the media of a VM that was saved to a file, and say whether that was needed.

        Args:
            media: target name -> path; every other drive with an image of the fleet becomes empty.
        """
        saved, text = self._domain.saved, self._domain.saved_xml
        if saved is None or text is None:
            return False
        wanted: dict[str, str | None] = {disk.target.dev: None for _, disk in saved.fleet_disks}
        wanted.update(media)
        changed = False
        for dev, path in wanted.items():
            disk = saved.at(dev)
            if disk is None or (path is not None and _holds(disk, path)):
                continue
            if disk.device == Device.DISK:
                detail = f"VM {self._vm} was saved to a file with its config drive plugged in as a disk"
                remedy = "start it, or discard its saved state (virsh managedsave-remove)"
                raise TransientError(TransientCode.VM_BUSY, detail, remedy)
            text, changed = with_medium(text, dev, path), True
        if changed:
            self._link.change(self._domain.handle.managedSaveDefineXML, text, 0)
        return changed


def _holds(disk: Disk | None, path: str) -> bool:
    return disk is not None and disk.source is not None and disk.source.path == path


def _xml_of(disk: Disk) -> str:
    """Write what identifies a drive; its medium does not."""
    return disk_xml(disk.target, None if disk.source is None else disk.source.path, disk.device)
