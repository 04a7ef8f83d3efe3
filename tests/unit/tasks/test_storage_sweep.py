"""Sweeping and adopting under the lease: what goes, when it goes, and what is left alone meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from configdrive.errors import StaleCode, TransientCode
from configdrive.lifecycle.orphans import Why
from configdrive.lifecycle.state import Phase, peek
from configdrive.model import Generation, ImageName, InstanceName, StoredImage, VmUuid
from tasks.attempt import Ended, Nothing
from tasks.mailbox import NotNow
from tasks.storage_sweep import Finding, Storekeeper
from tests.unit.documents import OTHER_UUID
from tests.unit.fakes.cloud import At
from tests.unit.fakes.fleet import HOME, HOST_1, HOST_2, LOCAL, PRIMARY, VM, foreign_image
from tests.unit.fakes.queue import Queue

OTHER = VmUuid(OTHER_UUID)
GRACE = 3600.0


@pytest.fixture
def queue() -> Queue:
    """A fleet whose VM was deployed and started."""
    queue = Queue()
    queue.take(queue.put("deploy", start=True))
    return queue


@pytest.fixture
def keeper(queue: Queue) -> Storekeeper:
    return Storekeeper(
        mailbox=queue.mailbox,
        driver=queue.fleet.driver,
        clock=queue.fleet.clock,
        leases=queue.leases,
        grace=GRACE,
        wake=queue.sent.append,
    )


def older(queue: Queue, generation: int = 0) -> StoredImage:
    """Put an older image of the VM beside its present one."""
    name = ImageName.of(InstanceName("i-2-14-VM"), VM, Generation(generation))
    queue.fleet.cloud.files[StoredImage(name, HOME)] = b"older"
    return StoredImage(name, HOME)


def swept(keeper: Storekeeper) -> dict[StoredImage, Finding]:
    return {finding.image: finding for finding in keeper.sweep(keeper.look())}


def looked(keeper: Storekeeper) -> dict[StoredImage, Why]:
    findings = list(keeper.judge_all(keeper.look()))
    assert not any(finding.deleted for finding in findings)
    return {finding.image: finding.why for finding in findings}


# --- sweeping ---------------------------------------------------------------------------------------------------------


def test_what_no_vm_needs_goes_and_the_rest_stays(queue: Queue, keeper: Storekeeper) -> None:
    orphan, medium = older(queue), queue.fleet.medium()
    assert medium is not None
    assert looked(keeper) == {orphan: Why.OLD, medium: Why.IN_DRIVE}
    assert orphan in queue.fleet.cloud.files, "looking deletes nothing"
    assert queue.mailbox.boxes[VM].epoch == 1, "and holds nothing"
    found = swept(keeper)
    assert found == {
        orphan: Finding(orphan, HOST_1, Why.OLD, deleted=True),
        medium: Finding(medium, HOST_1, Why.IN_DRIVE),
    }
    assert set(queue.fleet.cloud.files) == {medium}
    assert not queue.mailbox.boxes[VM].owned
    assert queue.sent == []


def test_an_image_that_is_nobody_s_goes_after_the_grace_period(queue: Queue, keeper: Storekeeper) -> None:
    stray = foreign_image(queue.fleet.cloud, OTHER)
    assert looked(keeper)[stray] is Why.NEW
    queue.fleet.clock.time += 2 * GRACE
    assert swept(keeper)[stray].why is Why.NEW, "only a sweep begins to count"
    queue.fleet.clock.time += GRACE - 1
    assert (looked(keeper)[stray], swept(keeper)[stray].why) == (Why.NEW, Why.NEW)
    queue.fleet.clock.time += 1
    assert looked(keeper)[stray] is Why.VM_UNKNOWN
    assert swept(keeper)[stray].deleted
    assert stray not in queue.fleet.cloud.files
    assert queue.mailbox.strays == {}


def test_the_grace_period_begins_anew_when_an_image_was_somebody_s_meanwhile(queue: Queue, keeper: Storekeeper) -> None:
    stray = foreign_image(queue.fleet.cloud, OTHER)
    swept(keeper)
    queue.fleet.clock.time += GRACE
    queue.fleet.cloud.down.add(HOST_2)
    assert swept(keeper)[stray].why is Why.HOST_AWAY
    queue.fleet.cloud.down.clear()
    assert swept(keeper)[stray].why is Why.NEW
    queue.fleet.clock.time += GRACE
    assert swept(keeper)[stray].deleted


def test_the_clock_of_the_one_who_sweeps_does_not_shorten_the_grace_period(queue: Queue, keeper: Storekeeper) -> None:
    stray = foreign_image(queue.fleet.cloud, OTHER)
    swept(keeper)
    early = replace(keeper, clock=type(queue.fleet.clock)(queue.fleet.clock.time + 2 * GRACE))
    assert swept(early)[stray].why is Why.NEW


@pytest.mark.parametrize("how", ["an event waits", "an event is in work", "another sweep is at it"])
def test_a_vm_that_somebody_is_at_is_left_alone(queue: Queue, keeper: Storekeeper, how: str) -> None:
    orphan = older(queue)
    if how == "another sweep is at it":
        queue.mailbox.hold(VM)
    else:
        header = queue.put("update")
        if how == "an event is in work":
            queue.claim(header)
    assert looked(keeper)[orphan] is Why.IN_WORK
    assert swept(keeper)[orphan] == Finding(orphan, HOST_1, Why.IN_WORK)
    assert orphan in queue.fleet.cloud.files


def test_what_an_event_has_changed_since_the_storages_were_looked_at_counts(queue: Queue, keeper: Storekeeper) -> None:
    stray = foreign_image(queue.fleet.cloud, OTHER)
    queue.fleet.clock.time += 1
    swept(keeper)
    queue.fleet.clock.time += GRACE
    scene = keeper.look()
    name = stray.name
    queue.post("event-of-the-other", "deploy", b"{}", uuid=OTHER)
    found = {finding.image.name: finding.why for finding in keeper.sweep(scene)}
    assert found[name] is Why.IN_WORK
    assert stray in queue.fleet.cloud.files


def test_an_event_that_comes_meanwhile_is_woken_afterwards(queue: Queue, keeper: Storekeeper) -> None:
    older(queue)
    put = []

    def comes(verb: str, at: At) -> None:
        if (verb, at) == ("delete", At.BEFORE):
            put.append(queue.put("update"))
            assert queue.take(put[0]) == Nothing(NotNow.BUSY)

    queue.fleet.cloud.hook = comes
    swept(keeper)
    assert [wake.header for wake in queue.sent] == put
    assert isinstance(queue.take(put[0]), Ended)


def test_one_who_has_lost_the_vm_deletes_nothing_more(queue: Queue, keeper: Storekeeper) -> None:
    older(queue)
    older(queue, 9)  # of an event that was given up

    def overtaken(verb: str, at: At) -> None:
        if (verb, at) == ("delete", At.AFTER):
            queue.fleet.clock.time += 31
            queue.mailbox.hold(VM)
            queue.fleet.cloud.hook = lambda _verb, _at: None

    queue.fleet.cloud.hook = overtaken
    found = swept(keeper)
    errors = [finding.error.code for finding in found.values() if finding.error is not None]
    assert errors == [StaleCode.LEASE_LOST]
    assert sum(finding.deleted for finding in found.values()) == 1
    assert queue.mailbox.boxes[VM].owned, "the hold is the other's"


def test_what_could_not_be_deleted_is_told_with_its_cause(queue: Queue, keeper: Storekeeper) -> None:
    orphan = older(queue)
    scene = keeper.look()
    queue.fleet.cloud.down.add(PRIMARY)
    found = {finding.image: finding for finding in keeper.sweep(scene)}
    assert (found[orphan].why, found[orphan].deleted) == (Why.OLD, False)
    error = found[orphan].error
    assert error is not None
    assert error.code is TransientCode.STORAGE_UNAVAILABLE
    assert not queue.mailbox.boxes[VM].owned


def test_a_record_that_cannot_be_read_ends_no_sweep(queue: Queue, keeper: Storekeeper) -> None:
    orphan, stray = older(queue), foreign_image(queue.fleet.cloud, OTHER)
    queue.mailbox.boxes[VM].state = '{"phase": "of a later version"}'
    assert looked(keeper)[orphan] is Why.UNREADABLE
    found = swept(keeper)
    assert (found[orphan].why, found[stray].why) == (Why.UNREADABLE, Why.NEW)
    assert orphan in queue.fleet.cloud.files
    assert queue.mailbox.boxes[VM].state == '{"phase": "of a later version"}'


def test_a_host_that_is_away_keeps_what_it_may_need_and_is_named(queue: Queue, keeper: Storekeeper) -> None:
    shared = older(queue)
    local = StoredImage(shared.name, queue.fleet.cloud.place(LOCAL, HOST_1))
    queue.fleet.cloud.files[local] = b"older"
    queue.fleet.cloud.down.add(HOST_2)
    assert keeper.look().away == {HOST_2}
    found = swept(keeper)
    assert (found[shared].why, found[local].why) == (Why.HOST_AWAY, Why.OLD)
    assert shared in queue.fleet.cloud.files
    assert local not in queue.fleet.cloud.files


# --- adopting ---------------------------------------------------------------------------------------------------------


def test_what_nobody_remembers_is_adopted_once(queue: Queue, keeper: Storekeeper) -> None:
    queue.mailbox.boxes.clear()
    (looked_at,) = keeper.adopt(keeper.look(), dry_run=True)
    assert queue.mailbox.boxes == {}, "looking remembers nothing"
    (adoption,) = keeper.adopt(keeper.look(), dry_run=False)
    assert adoption == looked_at
    assert (adoption.uuid, adoption.why_not) == (VM, "")
    box = queue.mailbox.boxes[VM]
    assert box.state is not None
    assert peek(box.state) == adoption.record
    assert (adoption.record.phase, adoption.record.adopted, box.owned) == (Phase.ATTACHED, True, False)
    for dry_run in (True, False):
        (again,) = keeper.adopt(keeper.look(), dry_run=dry_run)
        assert again.why_not == "it is remembered"
    queue.take(queue.put("destroy"))
    assert queue.fleet.generations() == []


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_vm_whose_events_wait_is_not_adopted(queue: Queue, keeper: Storekeeper, *, dry_run: bool) -> None:
    queue.mailbox.boxes.clear()
    header = queue.put("update")
    (adoption,) = keeper.adopt(keeper.look(), dry_run=dry_run)
    assert adoption.why_not == "an event of it waits or is in work"
    assert queue.mailbox.boxes[VM].state is None
    assert isinstance(queue.take(header), Ended)


@pytest.mark.parametrize("dry_run", [True, False])
def test_an_image_whose_vm_a_host_may_have_that_is_away_is_not_adopted(
    queue: Queue, keeper: Storekeeper, *, dry_run: bool
) -> None:
    foreign_image(queue.fleet.cloud, OTHER)
    queue.mailbox.boxes.clear()
    queue.fleet.cloud.down.add(HOST_2)
    found = {adoption.uuid: adoption.why_not for adoption in keeper.adopt(keeper.look(), dry_run=dry_run)}
    assert found == {VM: "", OTHER: "a host that does not answer may have it"}
    assert OTHER not in queue.mailbox.boxes


def test_what_is_adopted_is_not_swept(queue: Queue, keeper: Storekeeper) -> None:
    orphan = older(queue)
    queue.mailbox.boxes.clear()
    assert looked(keeper)[orphan] is Why.NOT_REMEMBERED
    list(keeper.adopt(keeper.look(), dry_run=False))
    medium = queue.fleet.medium()
    found = swept(keeper)
    assert {image: finding.why for image, finding in found.items()} == {orphan: Why.OLD, medium: Why.IN_DRIVE}
    queue.fleet.machine.medium = None
    assert medium is not None
    assert swept(keeper)[medium].why is Why.CURRENT
