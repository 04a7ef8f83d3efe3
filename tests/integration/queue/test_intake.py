"""The intake: order, one ingester at a time, hand-over, and what is refused without holding anybody up."""

from __future__ import annotations

import json
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import redis

from configdrive.contract.events import MAX_EVENT_BYTES
from configdrive.contract.outcome import Status
from rigs.cloud import VmScript
from tasks.intake import Taken
from tests.integration.queue.box import QUEUE, Box, finish
from tests.integration.queue.doors import BOX, Door, ids, vm_of
from tests.unit.fakes.small import FakeSealer
from workers.store import intake

if TYPE_CHECKING:
    from collections.abc import Callable


def test_events_go_into_their_mailboxes_in_the_order_of_the_list(box: Box) -> None:
    door, vms = Door(box), [VmScript() for _ in range(5)]
    events = [vm.event("stop") for _ in range(30) for vm in vms]
    door.push(*events)
    door.drain()
    for vm in vms:
        assert box.mail(vm_of(vm.event("stop"))) == [event["id"] for event in events if vm.uuid in str(event)]
    assert [wake.header.event_id for wake in door.woken] == ids(events[:5])
    assert (door.left(), door.letters(), box.mailbox.pending()) == (0, [], {QUEUE: 5})


def test_what_is_taken_in_is_an_event_like_any_other(box: Box) -> None:
    door, vm = Door(box), VmScript()
    event = vm.event("start", sealed=BOX, zone="zone-1")
    event["data"]["vm"]["uuid"] = vm.uuid.upper()
    event["traceparent"] = f"00-{'a' * 32}-{'b' * 16}-01"
    door.push(event)
    door.drain()
    (wake,) = door.woken
    assert (wake.header.queue, wake.header.sequence) == (f"{QUEUE}.zone-1", 1)
    claim = box.claim(wake.header)
    body = json.loads(claim.body)
    assert (body["data"]["sealed"], body["data"]["vm"]["uuid"]) == (BOX, vm.uuid)
    assert body["time"]  # given now, so that every attempt builds the same bytes
    assert claim.header.traceparent == event["traceparent"]
    box.mailbox.done(claim, finish(claim))
    assert [outcome.event_id for outcome in box.outcomes()] == [event["id"]]


BAD: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no JSON": (lambda _event: b'{"id": "half', "invalid_event: event: "),
    "no object": (lambda _event: b"[1]", "invalid_event: "),
    "nothing": (lambda _event: b"", "invalid_event: "),
    "deep": (lambda _event: b"[" * 100_000, "invalid_event: "),
    "no type": (lambda event: {**event, "type": "x"}, "invalid_event: event: 'type' must be"),
    "a field too many": (lambda event: {**event, "data": {**event["data"], "x": 1}}, "invalid_event: data.x: "),
    "no driver": (
        lambda event: {**event, "data": {**event["data"], "hypervisor": "hyperv"}},
        "unknown_hypervisor: data.hypervisor: no driver is called 'hyperv' (known are: simulated)",
    ),
    "in the clear": (
        lambda event: {**event, "data": {**event["data"], "guest": {"password": "swordfish"}}},
        "invalid_event: data.guest: stands in the clear (seal it into 'data.sealed', ",
    ),
    "no box": (
        lambda event: {**event, "data": {**event["data"], "sealed": "swordfish"}},
        "invalid_event: data.sealed: ",
    ),
    "too large": (lambda _event: b" " * (MAX_EVENT_BYTES + 1), "content_too_large: event: has 67108865 bytes"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_entry_is_told_and_the_next_one_is_not_delayed(box: Box, name: str) -> None:
    door, vm = Door(box), VmScript()
    change, reason = BAD[name]
    first, bad, last = vm.event("start"), vm.event("start"), vm.event("start")
    door.push(first, change(bad), last)
    door.drain()
    assert box.mail(vm_of(first)) == ids([first, last])
    (letter,) = door.letters()
    assert (letter.origin, letter.reason.startswith(reason)) == ("intake", True), letter.reason
    assert "swordfish" not in repr(letter)
    readable = isinstance(change(bad), dict)
    assert (letter.event_id, letter.vm_uuid) == ((bad["id"], vm.uuid) if readable else (None, None))
    told, expected = box.outcomes(), [(bad["id"], Status.REJECTED)] if readable else []
    assert [(outcome.event_id, outcome.status) for outcome in told] == expected
    assert all("swordfish" not in outcome.to_json() for outcome in told)
    assert door.left() == 0

    if readable:  # it was never stored: mended, it may come under the same id
        door.push(bad)
        door.drain()
        assert box.mail(vm_of(first)) == ids([first, last, bad])


def test_a_known_id_is_told_as_a_duplicate_and_nothing_is_said_of_the_first_one(box: Box) -> None:
    door, vm = Door(box), VmScript()
    event = vm.event("start")
    broken = {**event, "type": "x"}
    door.push(event, event, broken)
    door.drain()
    door.push(event)
    door.drain()
    assert box.mail(vm_of(event)) == [event["id"]]
    assert [letter.reason.partition(":")[0] for letter in door.letters()] == ["duplicate", "invalid_event", "duplicate"]
    assert {(letter.event_id, letter.vm_uuid) for letter in door.letters()} == {(event["id"], vm.uuid)}
    assert box.outcomes() == []  # whoever waits for the first one must not be told that it was rejected


def test_guest_data_in_the_clear_is_sealed_where_that_is_allowed(box: Box) -> None:
    door, vm = Door(box, sealer=FakeSealer()), VmScript()
    event = vm.event("start", guest={"password": "swordfish"})
    door.push(event)
    door.drain()
    body = json.loads(box.claim(door.woken[0].header).body)
    assert "guest" not in body["data"]
    assert body["data"]["sealed"].startswith("v1.")


def test_one_ingester_at_a_time_and_the_next_one_begins_when_it_leaves(box: Box) -> None:
    first, second, vm = Door(box), Door(box), VmScript()
    assert isinstance(first.intake.take(), Taken)
    busy = second.intake.take()
    assert not isinstance(busy, Taken)
    assert 0 < busy <= intake.LEASE_SECONDS
    first.push(vm.event("start"))
    assert second.ingester.look() > 0
    assert second.left() == 1
    second.intake.leave()  # not its own
    assert not isinstance(second.intake.take(), Taken)
    first.intake.leave()
    second.drain()
    assert (second.left(), len(second.woken)) == (0, 1)


def test_what_a_dead_ingester_had_taken_comes_first_and_once(box: Box) -> None:
    dead, heir, vm = Door(box), Door(box), VmScript()
    events = [vm.event("stop") for _ in range(6)]
    dead.push(*events[:3])
    taken = dead.intake.take()
    assert isinstance(taken, Taken)
    assert len(taken.entries) == 3
    dead.push(*events[3:])
    box.client.delete(box.key("intake:lease"))  # its time is over
    heir.drain()
    assert box.mail(vm_of(events[0])) == ids(events)
    # It was not dead, only slow: what it has in hand is settled by now, and it may neither add to it nor take it away.
    heir.push(vm.event("stop"))
    assert dead.intake.settle(taken.first, [dead.ingester._judged(entry) for entry in taken.entries]) is None
    assert box.mail(vm_of(events[0])) == ids(events)
    heir.drain()
    assert len(box.mail(vm_of(events[0]))) == 7
    assert heir.letters() == []


def test_an_ingester_whose_lease_is_over_does_no_harm_when_it_is_the_first_to_settle(box: Box) -> None:
    slow, heir, vm = Door(box), Door(box), VmScript()
    events = [vm.event("stop") for _ in range(4)]
    slow.push(*events)
    taken = slow.intake.take()
    assert isinstance(taken, Taken)
    box.client.delete(box.key("intake:lease"))
    seen = heir.intake.take()
    assert seen == taken
    assert slow.intake.settle(taken.first, [slow.ingester._judged(entry) for entry in taken.entries]) is not None
    assert heir.intake.settle(taken.first, [heir.ingester._judged(entry) for entry in taken.entries]) is None
    assert box.mail(vm_of(events[0])) == ids(events)
    assert (heir.letters(), heir.left()) == ([], 0)


@pytest.mark.parametrize("spoilt", ["of another type", "with words for numbers"])
def test_keys_that_a_stranger_has_changed_hold_up_their_own_vm_only(box: Box, spoilt: str) -> None:
    door, poor, vm = Door(box), VmScript(), VmScript()
    if spoilt == "of another type":
        box.client.set(box.key("mail", poor.uuid), "no list")
    else:
        door.push(poor.event("start"))
        door.drain()
        box.client.hset(box.key("vm", poor.uuid), mapping={"retry_at": 1, "attempts": "x"})
    door.push(vm.event("start"), poor.event("stop"), vm.event("stop"))
    door.drain()
    assert len(box.mail(vm_of(vm.event("stop")))) == 2
    (letter,) = door.letters()
    assert (letter.vm_uuid, letter.reason.partition(":")[0]) == (poor.uuid, "misconfigured")
    assert door.left() == 0


def test_a_full_redis_takes_nothing_and_loses_nothing(box: Box) -> None:
    door, vm = Door(box), VmScript()
    events = [vm.event("stop"), {**vm.event("stop"), "type": "x"}, vm.event("stop")]
    door.push(*events)
    taken = door.intake.take()
    assert isinstance(taken, Taken)
    judged = [door.ingester._judged(entry) for entry in taken.entries]
    for order in (judged, judged[::-1]):  # whichever is written first
        box.client.config_set("maxmemory", 1)
        try:
            with pytest.raises(redis.ResponseError, match="maxmemory"):
                door.intake.settle(taken.first, order)
        finally:
            box.client.config_set("maxmemory", 0)
        assert (box.mail(vm_of(events[0])), door.letters(), box.outcomes()) == ([], [], [])
    door.drain()
    assert box.mail(vm_of(events[0])) == ids([events[0], events[2]])
    assert len(door.letters()) == 1


def test_an_idle_list_costs_hardly_a_write(box: Box) -> None:
    door = Door(box)
    door.drain()

    def writes() -> int:
        return int(box.client.info("persistence")["rdb_changes_since_last_save"])

    before = writes()
    for _ in range(20):
        door.drain()
    assert writes() - before <= 2  # within a second, where a loaded machine may take some


def test_a_batch_has_bounds_in_number_and_bytes(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door(box)
    large = b'"' + b"x" * 1000 + b'"'
    door.push(*[large] * 10)
    for name, value, expected in (("BYTES_AT_ONCE", 2500, 3), ("BYTES_AT_ONCE", 1, 1), ("AT_ONCE", 4, 4)):
        monkeypatch.setattr(intake, "BYTES_AT_ONCE", 10**6)
        monkeypatch.setattr(intake, "AT_ONCE", 500)
        monkeypatch.setattr(intake, name, value)
        taken = door.intake.take()
        assert isinstance(taken, Taken)
        assert len(taken.entries) == expected
    door.drain()
    assert (door.left(), len(door.letters())) == (0, 10)


def test_it_keeps_up_with_thousands_of_events(box: Box) -> None:
    """Compared with publishing the same in batches: the way through the list is of the same order of magnitude."""
    door, vms = Door(box), [VmScript() for _ in range(100)]
    events = [vm.event("stop") for _ in range(10) for vm in vms]
    door.push(*events)
    began = time.perf_counter()
    door.drain()
    through_the_list = time.perf_counter() - began
    others = Door(box)
    lines = [json.dumps({**event, "id": f"{event['id']}-again"}).encode() for event in events]
    began = time.perf_counter()
    for start in range(0, len(lines), 500):
        box.mailbox.put_many([others.ingester._check(line) for line in lines[start : start + 500]])
    published = time.perf_counter() - began
    assert through_the_list < 5 * published


class Dead(BaseException):
    """The end of a process, wherever it comes: nothing catches it."""


def test_an_ingester_may_die_before_and_after_anything_it_does(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand events, a bad one and a double here and there; the ingester dies at random places again and again."""
    monkeypatch.setattr(intake, "AT_ONCE", 7)
    feeder, vms, chance = Door(box), [VmScript() for _ in range(20)], random.Random(7)  # noqa: S311 - no secret
    events = [vm.event("stop") for _ in range(50) for vm in vms]
    deaths = 0

    def die(drawn: float) -> None:
        nonlocal deaths
        if drawn < 0.15:
            deaths += 1
            raise Dead

    def mortal(script: Callable[..., Any]) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:  # noqa: ANN401 - a script's
            die(chance.random())
            answer = script(**arguments)
            die(chance.random())
            return answer

        return call

    for event in events:
        feeder.push(event)
        if chance.random() < 0.05:
            feeder.push(b"{", event)
    bad = feeder.left() - len(events)
    while feeder.left():
        door = Door(box)
        door.intake._take, door.intake._settle = mortal(door.intake._take), mortal(door.intake._settle)  # type: ignore[assignment]
        with suppress(Dead):
            door.drain()
        box.client.delete(box.key("intake:lease"))
    assert deaths > 50
    for vm in vms:
        assert box.mail(vm_of(vm.event("stop"))) == [event["id"] for event in events if vm.uuid in str(event)]
    assert len(feeder.letters()) == bad
