"""Many processes on one world, and the audit log that they write together."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from configdrive.errors import TransientCode
from configdrive.model import PowerState
from rigs.simulated.audit import Mark
from rigs.simulated.faults import Raise
from tests.contract.rig import failure_of
from tests.unit.workers.hypervisors.simulated.cloud import AT_H1, H1, Cloud, make_image, unknown_vm
from workers.hypervisors.simulated.inventory import Verb

if TYPE_CHECKING:
    from rigs.simulated.audit import Entry

LIFE = ("observe", "upload", "attach", "detach", "delete")


def test_processes_on_one_vm_find_it_whole_whatever_the_other_does(cloud: Cloud) -> None:
    vm = cloud.define(PowerState.RUNNING)
    workers = [cloud.worker(*LIFE, vm=vm, generation=generation, rounds=60) for generation in (1, 2)]
    workers.append(cloud.worker("survey", "observe", vm=vm, rounds=200))
    printed = [worker.communicate(timeout=300) for worker in workers]
    assert [errors for _, errors in printed] == [""] * 3
    # The one deletes what the other is about to attach, or has just attached: that is reported, and nothing worse.
    assert {code for out, _ in printed for code in out.split()} <= {
        TransientCode.IMAGE_IN_USE,
        TransientCode.UPLOAD_CORRUPT,
    }
    for entry in changes_of(cloud.audit(), vm.uuid):
        if entry.verb == "attach":
            assert entry.after is not None
            assert entry.after["live"] == entry.after["config"]


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


def test_a_change_that_is_none_is_not_written(cloud: Cloud) -> None:
    vm = cloud.define()
    cloud.give(vm)
    before = len(changes_of(cloud.audit(), vm.uuid))
    cloud.give(vm)
    assert len(changes_of(cloud.audit(), vm.uuid)) == before


def test_a_verb_that_fails_ends_with_its_code(cloud: Cloud) -> None:
    vm = cloud.define()
    cloud.inject(Raise(verb=Verb.OBSERVE, code=TransientCode.VM_BUSY))
    assert failure_of(lambda: cloud.driver.observe(vm)) is not None
    assert cloud.audit()[-1].error == "vm_busy"
    assert failure_of(lambda: cloud.driver.observe(vm)) is None
    assert cloud.audit()[-1].error is None


def test_processes_on_different_vms_do_not_disturb_one_another_and_their_lines_stay_whole(cloud: Cloud) -> None:
    vms = [cloud.define(PowerState.RUNNING) for _ in range(2)]
    workers = [cloud.worker(*LIFE, vm=vm, rounds=40) for vm in vms]
    assert [worker.communicate(timeout=300) for worker in workers] == [("", "")] * 2
    assert cloud.names() == []
    assert all(cloud.world.medium(vm.uuid) is None for vm in vms)
    audit = cloud.audit()
    assert len({entry.pid for entry in audit}) == 3  # the workers, and this process that defined the VMs
    for vm in vms:
        lines = [entry for entry in audit if entry.vm == vm.uuid and entry.mark is not Mark.CHANGE]
        assert len(lines) == 40 * len(LIFE) * 2
        for begin, end in pairwise(lines):
            assert begin.tick <= end.tick
        # One worker at a time on this VM: begin and end take turns.
        assert [entry.mark for entry in lines] == [Mark.BEGIN, Mark.END] * (40 * len(LIFE))


def test_line_that_a_kill_has_torn_spoils_no_other(cloud: Cloud) -> None:
    vm = cloud.define()
    before = cloud.audit()
    with (cloud.folder / "audit.jsonl").open("a") as log:
        log.write('{"at": 1.0, "tick": 5, "verb": "att')  # what a write across two pages leaves behind
    cloud.driver.observe(vm)
    assert [(entry.verb, entry.mark.value) for entry in cloud.audit()[len(before) :]] == [
        ("observe", "begin"),
        ("observe", "end"),
    ]


def test_the_log_holds_nothing_of_an_image(cloud: Cloud) -> None:
    vm = cloud.define()
    image = make_image(vm, content=b"password=swordfish" * 1000)
    cloud.driver.upload(vm, image, AT_H1)
    cloud.driver.attach(vm, image.name, AT_H1)
    assert "swordfish" not in (cloud.folder / "audit.jsonl").read_text()
