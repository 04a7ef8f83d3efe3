"""Hosts that were away are asked: one VM at a time, under its lease, and behind its events."""

from dataclasses import replace

import pytest

from configdrive.errors import StaleCode
from configdrive.lifecycle.state import Phase, write
from configdrive.model import HypervisorName, PowerState, VmUuid
from tasks.mailbox import OperatorAction
from tasks.wakeup import LEFTOVERS_NAME, read_question, wake_due
from tests.mailboxes import outcome
from tests.unit.documents import OTHER_UUID
from tests.unit.fakes.cloud import At, Machine
from tests.unit.fakes.fleet import HOST_1, HOST_2, PRIMARY, VM
from tests.unit.fakes.queue import QUEUE
from tests.unit.tasks.left import World

OTHER = VmUuid(OTHER_UUID)


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("word", ["stop", "destroy"])
def test_a_host_that_is_back_gives_up_what_it_has_and_is_asked_no_more(world: World, word: str) -> None:
    world.leave(word)
    assert world.left() == {HOST_1: [VM]}
    assert world.queue.store.field(VM, "gone") is None
    assert world.ask() == "host host-1 is away still; 0 VMs finished"
    assert world.left() == {HOST_1: [VM]}
    world.cloud.down.clear()
    assert world.ask() == "host host-1: 1 VMs finished, 0 wait"
    assert (world.queue.fleet.medium(), world.queue.fleet.generations()) == (None, [])
    assert (world.left(), world.known().left_on) == ({}, ())
    assert (world.queue.store.field(VM, "gone") is not None) == (word == "destroy"), (
        "a tombstone may be forgotten from now on"
    )
    assert not world.queue.owned()
    assert world.ask() == "host host-1: 0 VMs finished, 0 wait"
    assert world.queue.removed == [QUEUE], "it is reported, once"


def test_a_vm_whose_events_wait_is_left_to_them(world: World) -> None:
    world.leave()
    world.cloud.down.clear()
    start = world.queue.put("start")
    assert world.ask() == "host host-1: 0 VMs finished, 1 wait"
    assert world.left() == {HOST_1: [VM]}
    world.queue.ended(start)
    assert world.ask() == "host host-1: 1 VMs finished, 0 wait", "the start has done it already"
    assert world.queue.fleet.generations() == [start.sequence]
    assert world.left() == {}


def test_what_cannot_be_finished_now_keeps_no_other_vm_waiting(world: World) -> None:
    world.leave()
    world.cloud.down.clear()
    fleet = world.queue.fleet
    kept, fleet.cloud.machines[VM] = fleet.machine, Machine(HOST_2, PRIMARY)
    fleet.cloud.remains.append((VM, kept))
    kept.power = PowerState.RUNNING
    world.queue.take(world.queue.put("start", host=HOST_2))
    store = world.queue.store
    store.client.zadd(store.key("left", QUEUE), {f"{OTHER} {HOST_1}": 0})  # of whom nothing is remembered
    assert world.ask() == "host host-1: 1 VMs finished, 1 wait"
    assert world.left() == {HOST_1: [VM]}
    assert not world.queue.owned(), "the hold is given back"
    assert world.known().phase is Phase.ATTACHED
    kept.power = PowerState.HALTED
    assert world.ask() == "host host-1: 1 VMs finished, 0 wait"
    assert kept.medium is None


def test_a_record_that_cannot_be_read_is_left_as_it_is(world: World) -> None:
    world.leave()
    store = world.queue.store
    store.client.hset(store.key("vm", VM), "state", '{"phase": "of a later version"}')
    assert world.ask() == "host host-1: 0 VMs finished, 1 wait"
    assert store.field(VM, "state") == '{"phase": "of a later version"}'
    assert not world.queue.owned()


def test_a_vm_that_is_on_another_hypervisor_by_now_is_cleaned_where_it_was(world: World) -> None:
    world.leave()
    world.cloud.down.clear()
    known, store = world.known(), world.queue.store
    assert known.vm is not None
    moved = replace(known, vm=replace(known.vm, hypervisor=HypervisorName("other"), host=HOST_2))
    store.client.hset(store.key("vm", VM), "state", write(moved))
    assert world.ask() == "host host-1: 1 VMs finished, 0 wait"
    assert (world.queue.fleet.medium(), world.queue.fleet.generations()) == (None, [])
    assert (world.left(), world.known()) == ({}, replace(moved, left=()))


def test_one_who_does_not_serve_the_hypervisor_takes_nothing_away(world: World) -> None:
    world.leave()
    world.cloud.down.clear()
    assert world.queue.asker({}).ask(QUEUE, HOST_1) == "host host-1: 0 VMs finished, 1 wait"
    assert world.queue.fleet.generations() != []


def test_what_nobody_foresaw_gives_the_vm_back(world: World) -> None:
    world.leave()
    world.cloud.down.clear()

    def surprise(_verb: str, _at: At) -> None:
        raise RuntimeError

    world.cloud.hook = surprise
    with pytest.raises(RuntimeError):
        world.ask()
    assert not world.queue.owned()
    assert world.left() == {HOST_1: [VM]}


def test_it_ends_in_time_and_goes_on_with_the_rest_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.leave()
    world.cloud.down.clear()
    monkeypatch.setattr("tasks.leftovers._BUDGET_SECONDS", -1.0)
    assert world.ask() == "host host-1: 0 VMs finished, 0 wait"
    assert world.left() == {HOST_1: [VM]}


# --- verification -----------------------------------------------------------------------------------------------------


def answered(world: World) -> str:
    """Let the wake-up pass send its question once it is time, and a worker answer it."""
    world.queue.fleet.clock.time += 31
    assert wake_due(world.mailbox, [QUEUE], pause=30).hosts == ()
    messages = [one for one in world.queue.store.messages(QUEUE) if one.task == LEFTOVERS_NAME]
    question = read_question(messages[-1].task_id, messages[-1].arguments, QUEUE)
    world.queue.store.lose_messages(QUEUE)
    return world.leftovers.answer(question)


def doubted(world: World) -> list[VmUuid]:
    return [doubt.vm_uuid for doubt in world.mailbox.doubts(QUEUE)]


def test_a_vm_is_verified_behind_its_events_and_when_its_host_is_back(world: World) -> None:
    queue, cloud = world.queue, world.cloud
    queue.take(queue.put("deploy", start=True))
    skipped, waits = queue.put("start"), queue.put("start")
    queue.claim(skipped)
    queue.fleet.clock.time += 31
    assert queue.mailbox.act(VM, skipped.key, OperatorAction.SKIP, outcome(skipped)) is None
    assert answered(world) == "0 VMs verified, 1 wait"
    queue.ended(waits)
    cloud.down.add(HOST_1)
    assert answered(world) == "0 VMs verified, 1 wait"
    assert not queue.owned(), "the hold is given back"
    cloud.down.clear()
    assert answered(world) == "1 VMs verified, 0 wait"
    assert doubted(world) == []


def test_a_vm_that_can_never_be_verified_is_asked_for_no_more(world: World) -> None:
    queue = world.queue
    start, _destroy = queue.put("start"), queue.put("stop")
    assert queue.ended(start).code is StaleCode.SUPERSEDED
    queue.ended(_destroy)
    queue.store.client.hset(queue.store.key("vm", VM), "state", '{"phase": "of a later version"}')
    assert answered(world) == "1 VMs verified, 0 wait"
    assert queue.store.field(VM, "state") == '{"phase": "of a later version"}'
    assert doubted(world) == []
