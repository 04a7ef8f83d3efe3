"""Inserting and ejecting as functions from record to record."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configdrive.errors import FleetError, PermanentCode, TransientCode
from configdrive.model import HostName, ImageName, InstanceName, PowerState, Presentation, StorageName, VmUuid
from configdrive.ports import AttachedHow
from tests.support import error_of
from workers.hypervisors.simulated.drives import CD, DISK, SLOTS, USER_CD, eject, fleet_media, has_slot, insert
from workers.hypervisors.simulated.vms import Drives, Medium, VmRecord

MINE, OTHER = VmUuid("11111111-1111-4111-8111-111111111111"), VmUuid("22222222-2222-4222-8222-222222222222")
STORAGE = StorageName("local")
NEW, OLD, THEIRS = (Medium(STORAGE, f"i-2-14-VM.{uuid}.{n}.iso") for uuid, n in ((MINE, 9), (MINE, 8), (OTHER, 9)))
FOREIGN = Medium(STORAGE, "debian-12.iso")

powers = st.sampled_from([power for power in PowerState if power is not PowerState.UNDEFINED])
drives = st.dictionaries(st.sampled_from([CD, DISK, USER_CD]), st.sampled_from([None, NEW, OLD, THEIRS, FOREIGN]))


@st.composite
def records(draw: st.DrawFn) -> VmRecord:
    """Any VM: in any power state, with any media in any drives, its definition in step with it or not."""
    power = draw(powers)
    persistent = power is PowerState.HALTED or draw(st.booleans())
    return VmRecord(
        MINE,
        InstanceName("i-2-14-VM"),
        HostName("h1"),
        STORAGE,
        power,
        persistent=persistent,
        hot_add=draw(st.booleans()),
        tray_locked=draw(st.booleans()),
        live={} if power is PowerState.HALTED else draw(drives),
        config=draw(drives) if persistent else {},
    )


def rest(drives: Drives, *but: str) -> dict[str, Medium | None]:
    return {device: medium for device, medium in drives.items() if device not in but}


@given(records(), st.sampled_from(Presentation))
def test_insert_puts_the_medium_in_or_says_why_not(record: VmRecord, presentation: Presentation) -> None:
    device = SLOTS[presentation]
    held = {drives.get(device) for drives in (record.live, record.config)}
    try:
        after, how, _ = insert(record, NEW, presentation, force=True)
    except FleetError as error:
        reason = error.code
    else:
        assert_inserted(record, after, how, presentation)
        return
    assert reason is PermanentCode.NO_FREE_SLOT
    assert FOREIGN in held or not (record.persistent or record.hot_add or device in record.live)


def assert_inserted(record: VmRecord, after: VmRecord, how: AttachedHow, presentation: Presentation) -> None:
    device = SLOTS[presentation]
    held = {drives.get(device) for drives in (record.live, record.config)}
    assert FOREIGN not in held
    if record.persistent:
        assert after.config[device] == NEW
    if record.active and how is not AttachedHow.NEXT_BOOT:
        assert after.live[device] == NEW
    if how is AttachedHow.NEXT_BOOT:
        assert device not in record.live
        assert not record.hot_add
    assert (how is AttachedHow.ALREADY) == (after == record and how is not AttachedHow.NEXT_BOOT)
    assert rest(after.live, CD, DISK) == rest(record.live, CD, DISK)
    assert rest(after.config, CD, DISK) == rest(record.config, CD, DISK)
    again, how_again, _ = insert(after, NEW, presentation, force=True)
    assert again == after
    assert how_again is (AttachedHow.NEXT_BOOT if how is AttachedHow.NEXT_BOOT else AttachedHow.ALREADY)


@given(records())
def test_eject_leaves_no_image_of_the_fleet_and_every_other_medium(record: VmRecord) -> None:
    after = eject(record, None, None, force=True)
    assert list(fleet_media(after)) == []
    assert [medium for medium in after.media if medium == FOREIGN] == [m for m in record.media if m == FOREIGN]
    assert eject(after, None, None, force=True) == after
    assert set(after.live) >= set(record.live) - {DISK}


def test_eject_takes_out_the_named_images_only_and_the_added_drive_only() -> None:
    record = vm(config={CD: OLD, USER_CD: None})
    new, old = (ImageName.parse(medium.file) for medium in (NEW, OLD))
    assert new is not None
    assert old is not None
    assert eject(record, (new,), None, force=True) == record
    assert eject(record, (old,), None, force=True).config == {CD: None, USER_CD: None}
    assert eject(record, (old,), CD, force=True).config == {USER_CD: None}


@given(records())
def test_a_locked_tray_keeps_the_live_drives_without_force(record: VmRecord) -> None:
    locked = replace(record, tray_locked=True)
    forced = eject(locked, None, None, force=True)
    if forced.live == locked.live:
        assert eject(locked, None, None, force=False) == forced
        assert forced.tray_locked
    else:
        assert not forced.tray_locked
        assert error_of(eject, locked, None, None, force=False).code is TransientCode.DRIVE_LOCKED


def vm(**fields: object) -> VmRecord:
    record = VmRecord(MINE, InstanceName("i-2-14-VM"), HostName("h1"), STORAGE)
    return replace(record, **fields)  # type: ignore[arg-type]


def test_a_changed_presentation_moves_the_image() -> None:
    after, _, _ = insert(vm(config={CD: OLD}), NEW, Presentation.DISK, force=True)
    assert after.config == {DISK: NEW}


def test_a_stranger_in_the_other_slot_is_not_touched() -> None:
    after, _, _ = insert(vm(config={DISK: FOREIGN}), NEW, Presentation.CDROM, force=True)
    assert after.config == {CD: NEW, DISK: FOREIGN}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (vm(), False),
        (vm(config={CD: None}), True),
        (vm(config={CD: FOREIGN}), False),
        (vm(config={USER_CD: None}), False),
        (vm(config={CD: None}, power=PowerState.RUNNING), False),
        (vm(live={CD: None}, power=PowerState.PAUSED), True),
    ],
)
def test_a_slot_is_what_the_vm_has_now(record: VmRecord, expected: object) -> None:
    assert has_slot(record) is expected
