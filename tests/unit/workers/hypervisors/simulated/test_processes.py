"""Many processes on one world, and the audit log that they write together."""

from concurrent.futures.process import BrokenProcessPool
from itertools import pairwise

import pytest

from configdrive.errors import TransientCode
from configdrive.model import PowerState
from rigs.simulated.audit import Entry, Mark
from rigs.simulated.faults import Kill, Point
from tests.contract.rig import failure_of, verbs
from tests.unit.workers.hypervisors.simulated.cloud import (
    AT_H1,
    H1,
    SHARED,
    Cloud,
    make_image,
    processes,
    unknown_vm,
    work,
)
from workers.hypervisors.simulated.inventory import Verb

LIFE = ("observe", "upload", "attach", "detach", "delete")


def test_processes_on_one_vm_find_it_whole_whatever_the_other_does_and_disturb_no_other(cloud: Cloud) -> None:
    vm, other = (cloud.define(PowerState.RUNNING) for _ in range(2))
    with processes(4) as pool:
        same = [pool.submit(work, cloud.folder, vm, LIFE, generation=number, rounds=40) for number in (1, 2)]
        same.append(pool.submit(work, cloud.folder, vm, ("survey", "observe"), rounds=100))
        alone = pool.submit(work, cloud.folder, other, LIFE, rounds=40)
    # The one deletes what the other is about to attach, or has just attached: that is reported, and nothing worse.
    assert set().union(*(one.result() for one in same)) <= {TransientCode.IMAGE_IN_USE, TransientCode.UPLOAD_CORRUPT}
    assert alone.result() == set()
    assert cloud.world.medium(other.uuid) is None
    audit = cloud.audit()
    for entry in changes_of(audit, vm.uuid):
        if entry.verb == "attach":
            assert entry.after is not None
            assert entry.after["live"] == entry.after["config"]
    lines = [entry for entry in audit if entry.vm == other.uuid and entry.mark is not Mark.CHANGE]
    assert [entry.mark for entry in lines] == [Mark.BEGIN, Mark.END] * (40 * len(LIFE))
    assert all(begin.tick <= end.tick for begin, end in pairwise(lines))


def test_a_listing_clears_what_dead_writers_left_and_nothing_that_is_being_written(cloud: Cloud) -> None:
    dead, busy = unknown_vm(), unknown_vm()
    folder = cloud.world.image_path(make_image(dead).name, AT_H1).parent
    for vm in (dead, busy):
        (folder / f"{make_image(vm).name}.part").write_bytes(b"half")
    with cloud.world.records.lock(busy.uuid, 0):
        assert cloud.driver.survey(H1).images == ()
        cloud.driver.observe(busy, [AT_H1])
        assert cloud.names() == [f"{make_image(busy).name}.part"]
    assert cloud.driver.survey(H1).images == ()
    assert cloud.names() == []


def test_a_worker_killed_halfway_leaves_half_a_file_under_another_name_which_the_next_look_clears(cloud: Cloud) -> None:
    """What becomes of a kill at every other point: tests/e2e/test_killed.py."""
    vm = cloud.define(PowerState.RUNNING)
    cloud.inject(Kill(verb=Verb.UPLOAD, when=Point.MIDDLE))
    with processes(1) as pool, pytest.raises(BrokenProcessPool):
        pool.submit(work, cloud.folder, vm, ("observe", "upload")).result()
    assert cloud.names() == [f"{make_image(vm).name}.part"]
    assert cloud.world.files()[0].stat().st_size == len(make_image(vm).content) // 2
    assert cloud.driver.observe(vm).images == ()
    assert cloud.names() == []
    for call in verbs(cloud.driver, vm, make_image(vm), AT_H1, SHARED).values():
        assert failure_of(call) is None


# --- the audit log --------------------------------------------------------------------------------------------------


def changes_of(audit: list[Entry], uuid: str) -> list[Entry]:
    return [entry for entry in audit if entry.mark is Mark.CHANGE and entry.vm == uuid]


def test_the_log_tells_a_life_step_by_step(cloud: Cloud) -> None:
    vm = cloud.define()
    name = cloud.give(vm)
    cloud.world.start_vm(vm.uuid)
    cloud.driver.detach(vm)
    cloud.driver.observe(vm)
    written = [(entry.verb, entry.mark.value) for entry in cloud.audit() if entry.vm == vm.uuid]
    verb = {"upload", "attach", "detach"}
    expected = [("world.define_vm", "change")]
    for step in ("upload", "attach", "world.start_vm", "detach", "observe"):
        if step.startswith("world."):
            expected.append((step, "change"))
        else:
            expected += [(step, "begin"), *([(step, "change")] if step in verb else []), (step, "end")]
    assert written == expected

    upload, attach, start, detach = changes_of(cloud.audit(), vm.uuid)[1:]
    size = len(make_image(vm).content)
    assert (upload.image, upload.place, upload.before, upload.after) == (str(name), "h1/local", None, {"bytes": size})
    assert attach.after == {"host": "h1", "power": "halted", "live": {}, "config": {"hdd": f"local/{name}"}}
    assert start.before == attach.after
    assert detach.after == {"host": "h1", "power": "running", "live": {"hdd": None}, "config": {"hdd": None}}
