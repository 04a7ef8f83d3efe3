"""Sweeping and adopting under the lease: what goes, when it goes, and what is left alone meanwhile."""

from dataclasses import replace

import pytest

from configdrive.errors import StaleCode, TransientCode
from configdrive.lifecycle.orphans import Why
from configdrive.lifecycle.state import Phase, peek
from configdrive.model import Generation, HostName, ImageName, InstanceName, Intent, StoredImage, VmUuid
from configdrive.ports import Survey
from tasks.storage_sweep import Finding, StorageSweeper
from tests.unit.documents import OTHER_UUID
from tests.unit.fakes.cloud import At
from tests.unit.fakes.fleet import HOME, HOST_1, HOST_2, LOCAL, PRIMARY, VM, foreign_image
from tests.unit.fakes.queue import QUEUE, Queue

OTHER = VmUuid(OTHER_UUID)
GRACE = 3600.0


@pytest.fixture
def queue() -> Queue:
    """A fleet whose VM was deployed and started."""
    queue = Queue()
    queue.take(queue.put("deploy", start=True))
    return queue


@pytest.fixture
def sweeper(queue: Queue) -> StorageSweeper:
    return StorageSweeper(
        mailbox=queue.mailbox,
        driver=queue.fleet.driver,
        clock=queue.fleet.clock,
        leases=queue.leases,
        grace=GRACE,
        leftovers=queue.leftovers,
    )


def older(queue: Queue, generation: int = 0) -> StoredImage:
    """Put an older image of the VM beside its present one."""
    name = ImageName.of(InstanceName("i-2-14-VM"), VM, Generation(generation))
    queue.fleet.cloud.files[StoredImage(name, HOME)] = b"older"
    return StoredImage(name, HOME)


def swept(sweeper: StorageSweeper) -> dict[StoredImage, Finding]:
    return {finding.image: finding for finding in sweeper.sweep(sweeper.look())}


def looked(sweeper: StorageSweeper) -> dict[StoredImage, Why]:
    findings = list(sweeper.judge_all(sweeper.look()))
    assert not any(finding.deleted for finding in findings)
    return {finding.image: finding.why for finding in findings}


# --- sweeping ---------------------------------------------------------------------------------------------------------


def test_what_no_vm_needs_goes_and_the_rest_stays(queue: Queue, sweeper: StorageSweeper) -> None:
    orphan, medium = older(queue), queue.fleet.medium()
    assert medium is not None
    assert looked(sweeper) == {orphan: Why.OLD, medium: Why.IN_DRIVE}
    assert orphan in queue.fleet.cloud.files, "looking deletes nothing"
    assert queue.store.field(VM, "epoch") == "1", "and holds nothing"
    found = swept(sweeper)
    assert found == {
        orphan: Finding(orphan, HOST_1, Why.OLD, deleted=True),
        medium: Finding(medium, HOST_1, Why.IN_DRIVE),
    }
    assert set(queue.fleet.cloud.files) == {medium}
    assert not queue.owned()
    assert queue.sent == []


def test_an_image_that_is_nobody_s_goes_after_the_grace_period(queue: Queue, sweeper: StorageSweeper) -> None:
    orphan = foreign_image(queue.fleet.cloud, OTHER)
    assert looked(sweeper)[orphan] is Why.NEW
    queue.fleet.clock.time += 2 * GRACE
    assert swept(sweeper)[orphan].why is Why.NEW, "only a sweep begins to count"
    queue.fleet.clock.time += GRACE - 1
    assert (looked(sweeper)[orphan], swept(sweeper)[orphan].why) == (Why.NEW, Why.NEW)
    queue.fleet.clock.time += 1
    assert looked(sweeper)[orphan] is Why.VM_UNKNOWN
    assert swept(sweeper)[orphan].deleted
    assert orphan not in queue.fleet.cloud.files
    assert queue.store.client.zcard(queue.store.key("orphans")) == 0


def test_the_grace_period_begins_anew_when_an_image_was_somebody_s_meanwhile(
    queue: Queue, sweeper: StorageSweeper
) -> None:
    orphan = foreign_image(queue.fleet.cloud, OTHER)
    swept(sweeper)
    queue.fleet.clock.time += GRACE
    queue.fleet.cloud.down.add(HOST_2)
    assert swept(sweeper)[orphan].why is Why.HOST_AWAY
    queue.fleet.cloud.down.clear()
    assert swept(sweeper)[orphan].why is Why.NEW
    queue.fleet.clock.time += GRACE
    assert swept(sweeper)[orphan].deleted


@pytest.mark.parametrize("how", ["an event waits", "an event is in work", "another sweep is at it"])
def test_a_vm_that_somebody_is_at_is_left_alone(queue: Queue, sweeper: StorageSweeper, how: str) -> None:
    orphan = older(queue)
    if how == "another sweep is at it":
        queue.mailbox.hold(VM)
    else:
        header = queue.put("update")
        if how == "an event is in work":
            queue.claim(header)
    assert looked(sweeper)[orphan] is Why.IN_WORK
    assert swept(sweeper)[orphan] == Finding(orphan, HOST_1, Why.IN_WORK)
    assert orphan in queue.fleet.cloud.files


def test_what_an_event_has_changed_since_the_storages_were_looked_at_counts(
    queue: Queue, sweeper: StorageSweeper
) -> None:
    orphan = foreign_image(queue.fleet.cloud, OTHER)
    queue.fleet.clock.time += 1
    swept(sweeper)
    queue.fleet.clock.time += GRACE
    scene = sweeper.look()
    name = orphan.name
    queue.post("event-of-the-other", "deploy", b"{}", uuid=OTHER)
    found = {finding.image.name: finding.why for finding in sweeper.sweep(scene)}
    assert found[name] is Why.IN_WORK
    assert orphan in queue.fleet.cloud.files


def test_one_who_has_lost_the_vm_deletes_nothing_more(queue: Queue, sweeper: StorageSweeper) -> None:
    older(queue)
    older(queue, 9)  # of an event that was given up

    def overtaken(verb: str, at: At) -> None:
        if (verb, at) == ("delete", At.AFTER):
            queue.fleet.clock.time += 31
            queue.mailbox.hold(VM)
            queue.fleet.cloud.hook = lambda _verb, _at: None

    queue.fleet.cloud.hook = overtaken
    found = swept(sweeper)
    errors = [finding.error.code for finding in found.values() if finding.error is not None]
    assert errors == [StaleCode.LEASE_LOST]
    assert sum(finding.deleted for finding in found.values()) == 1
    assert queue.owned(), "the hold is the other's"


def test_what_could_not_be_deleted_is_named_with_its_cause(queue: Queue, sweeper: StorageSweeper) -> None:
    orphan = older(queue)
    scene = sweeper.look()
    queue.fleet.cloud.down.add(PRIMARY)
    found = {finding.image: finding for finding in sweeper.sweep(scene)}
    assert (found[orphan].why, found[orphan].deleted) == (Why.OLD, False)
    error = found[orphan].error
    assert error is not None
    assert error.code is TransientCode.STORAGE_UNAVAILABLE
    assert not queue.owned()


def test_a_record_that_cannot_be_read_ends_no_sweep(queue: Queue, sweeper: StorageSweeper) -> None:
    old, orphan = older(queue), foreign_image(queue.fleet.cloud, OTHER)
    later = '{"phase": "of a later version"}'
    queue.store.client.hset(queue.store.key("vm", VM), "state", later)
    assert looked(sweeper)[old] is Why.UNREADABLE
    found = swept(sweeper)
    assert (found[old].why, found[orphan].why) == (Why.UNREADABLE, Why.NEW)
    assert old in queue.fleet.cloud.files
    assert queue.store.field(VM, "state") == later


def test_a_host_that_is_away_keeps_what_it_may_need_and_is_named(queue: Queue, sweeper: StorageSweeper) -> None:
    shared = older(queue)
    local = StoredImage(shared.name, queue.fleet.cloud.place(LOCAL, HOST_1))
    queue.fleet.cloud.files[local] = b"older"
    queue.fleet.cloud.down.add(HOST_2)
    assert sweeper.look().away == {HOST_2}
    found = swept(sweeper)
    assert (found[shared].why, found[local].why) == (Why.HOST_AWAY, Why.OLD)
    assert shared in queue.fleet.cloud.files
    assert local not in queue.fleet.cloud.files


# --- adopting ---------------------------------------------------------------------------------------------------------


def test_what_nobody_remembers_is_adopted_once(queue: Queue, sweeper: StorageSweeper) -> None:
    queue.forget_all()
    (looked_at,) = sweeper.adopt(sweeper.look(), dry_run=True)
    assert queue.store.all_keys() == set(), "looking remembers nothing"
    (adoption,) = sweeper.adopt(sweeper.look(), dry_run=False)
    assert adoption == looked_at
    assert (adoption.uuid, adoption.why_not) == (VM, "")
    text = queue.store.field(VM, "state")
    assert text is not None
    assert peek(text) == adoption.record
    assert (adoption.record.phase, adoption.record.adopted, queue.owned()) == (Phase.ATTACHED, True, False)
    for dry_run in (True, False):
        (again,) = sweeper.adopt(sweeper.look(), dry_run=dry_run)
        assert again.why_not == "it is remembered"
    queue.take(queue.put("destroy"))
    assert queue.fleet.generations() == []


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("cause", ["an event of it waits or is in work", "is looked after first", "may have it"])
def test_what_somebody_is_at_or_may_have_is_not_adopted(
    queue: Queue, sweeper: StorageSweeper, cause: str, *, dry_run: bool
) -> None:
    other = foreign_image(queue.fleet.cloud, OTHER)
    queue.forget_all()
    (image,) = queue.fleet.cloud.images_of(VM)
    if cause == "may have it":
        queue.fleet.cloud.down.add(HOST_2)
        uuid = other.name.vm_uuid
    else:
        uuid = VM
    if cause == "is looked after first":  # an attempt that never ended has brought it
        queue.mailbox.note_doubt(QUEUE, VM, [Intent(HOST_1, "", image.place, image.name.file, sweeper.driver.name)])
    elif uuid == VM:
        queue.put("update")
    found = {adoption.uuid: adoption.why_not for adoption in sweeper.adopt(sweeper.look(), dry_run=dry_run)}
    assert cause in found[uuid]
    assert queue.store.field(uuid, "state") is None


def test_what_is_adopted_is_not_swept(queue: Queue, sweeper: StorageSweeper) -> None:
    orphan = older(queue)
    queue.forget_all()
    assert looked(sweeper)[orphan] is Why.NOT_REMEMBERED
    list(sweeper.adopt(sweeper.look(), dry_run=False))
    medium = queue.fleet.medium()
    found = swept(sweeper)
    assert {image: finding.why for image, finding in found.items()} == {orphan: Why.OLD, medium: Why.IN_DRIVE}
    queue.fleet.machine.medium = None
    assert medium is not None
    assert swept(sweeper)[medium].why is Why.CURRENT


def test_only_a_deep_look_takes_in_what_no_survey_shows(queue: Queue, sweeper: StorageSweeper) -> None:
    hidden = StoredImage(ImageName.of(InstanceName("i-2-14-VM"), VM, Generation(0)), HOME)
    driver = queue.fleet.driver
    survey = driver.survey

    def survey_deep(host: HostName) -> Survey:
        shown = survey(host)
        return replace(shown, images=(*shown.images, hidden))

    assert hidden not in sweeper.look(deep=True).images  # of a driver that has no other way to look
    driver.survey_deep = survey_deep  # type: ignore[attr-defined]
    assert hidden not in sweeper.look().images
    assert hidden in sweeper.look(deep=True).images
