"""The drives of a VM, with what inserting and ejecting do: pure functions from one record to the next."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.model import ImageName, Presentation
from configdrive.ports import AttachedHow

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from workers.hypervisors.simulated.vms import Drives, Medium, VmRecord

CD: Final = "hdd"
"""The config drive's slot: the fourth IDE device, as CloudStack has it on KVM."""

DISK: Final = "vdz"
"""The config drive's slot when it is presented as a disk."""

USER_CD: Final = "hdc"
"""The slot of a user's own ISO (CloudStack's device 3). The fleet puts nothing there."""

SLOTS: Final = {Presentation.AUTO: CD, Presentation.CDROM: CD, Presentation.DISK: DISK}
_OURS: Final = frozenset(SLOTS.values())


def fleet_media(record: VmRecord) -> Iterator[tuple[ImageName, Medium]]:
    """Give every image of the fleet in any drive of the VM, whosever it is."""
    for medium in record.media:
        image = medium.image
        if image is not None:
            yield image, medium


def has_slot(record: VmRecord) -> bool:
    """Say whether the VM has a config drive slot now, and no stranger's medium in it."""
    drives = record.live if record.active else record.config
    return any(device in drives and not _is_foreign(drives[device]) for device in _OURS)


def insert(
    record: VmRecord, medium: Medium, presentation: Presentation, *, force: bool
) -> tuple[VmRecord, AttachedHow, str | None]:
    """Put the medium into the VM's config drive, now and in its definition, in the place of any fleet's image.

    Answers the device too, when the drive was added for it.

    Raises:
        PermanentError: `NO_FREE_SLOT` when a user's file is in the slot, or when the VM has none and takes none while
            it runs.
        TransientError: `DRIVE_LOCKED` when the guest holds the tray and `force` is not set.
    """
    device = SLOTS[presentation]
    _require_no_users(record, device)
    added = None if device in record.live or device in record.config else device
    live, config = _without_own(record, record.live, device), _without_own(record, record.config, device)
    if record.persistent:
        config[device] = medium
    how = AttachedHow.INSERTED
    if record.active and device in live:
        live[device] = medium
    elif record.active and record.hot_add:
        live[device] = medium
        how = AttachedHow.HOT_ADDED
    elif record.active and record.persistent:
        how = AttachedHow.NEXT_BOOT
    elif record.active:
        raise PermanentError(
            PermanentCode.NO_FREE_SLOT,
            f"VM {record.uuid} has no config drive and takes none while it runs",
            "define it with an empty CD drive",
        )
    after = _with_live(record, live, config, force=force)
    if after == record and how is not AttachedHow.NEXT_BOOT:
        how = AttachedHow.ALREADY
    return after, how, added


def eject(record: VmRecord, media: Collection[ImageName] | None, added: str | None, *, force: bool) -> VmRecord:
    """Take these images, or every one of a fleet's, out of every drive.

    A drive that was `added` is taken out of the definition with them, and so is a disk, which cannot be empty; a
    running VM keeps its CD drive. What was found is left empty.

    Raises:
        TransientError: `DRIVE_LOCKED` when the guest holds the tray and `force` is not set.
    """
    live = _emptied(record.live, media, frozenset({DISK}))
    config = _emptied(record.config, media, frozenset({DISK, added}))
    return _with_live(record, live, config, force=force)


def _emptied(
    drives: Drives, media: Collection[ImageName] | None, removed: frozenset[str | None]
) -> dict[str, Medium | None]:
    after = dict(drives)
    for device, medium in drives.items():
        image = None if medium is None else medium.image
        if image is not None and (media is None or image in media):
            after[device] = None
            if device in removed:
                del after[device]
    return after


def _require_no_users(record: VmRecord, device: str) -> None:
    for drives in (record.live, record.config):
        medium = drives.get(device)
        if medium is not None and medium.image is None:
            raise PermanentError(
                PermanentCode.NO_FREE_SLOT,
                f"the config drive slot {device} of VM {record.uuid} holds a medium that is not the fleet's",
                "eject it, or move it to the slot of the user's ISO",
            )


def _without_own(record: VmRecord, drives: Drives, wanted: str) -> dict[str, Medium | None]:
    """Return the drives without this VM's images in the fleet's other slot (its presentation may have changed)."""
    kept = dict(drives)
    for device in _OURS - {wanted}:
        medium = kept.get(device)
        image = None if medium is None else medium.image
        if image is not None and image.vm_uuid == record.uuid:
            del kept[device]
    return kept


def _with_live(record: VmRecord, live: Drives, config: Drives, *, force: bool) -> VmRecord:
    if live == record.live or not record.tray_locked:
        return replace(record, live=live, config=config)
    if not force:
        raise TransientError(
            TransientCode.DRIVE_LOCKED,
            f"the guest of VM {record.uuid} has locked its drive",
            "unmount it in the guest, or turn force_eject on",
        )
    return replace(record, live=live, config=config, tray_locked=False)


def _is_foreign(medium: Medium | None) -> bool:
    return medium is not None and medium.image is None
