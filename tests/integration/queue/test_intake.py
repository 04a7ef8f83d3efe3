"""The intake: order, one ingester at a time, hand-over, and what is refused without holding anybody up."""

import json
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import redis

from configdrive.contract.events import MAX_EVENT_BYTES
from configdrive.contract.outcome import Status
from rigs.cloud import VmScript, key_of
from tasks.intake import Taken
from tasks.mailbox import Claim
from tests.integration.queue.intake_rig import SEALED, IntakeRig, keys, vm_of
from tests.mailboxes import QUEUE, Store, finish
from tests.unit.fakes.small import FakeSealer
from workers.store import intake


def test_events_go_into_their_mailboxes_in_the_order_of_the_list(store: Store) -> None:
    rig, vms = IntakeRig(store), [VmScript() for _ in range(5)]
    events = [vm.event("stop") for _ in range(30) for vm in vms]
    rig.push(*events)
    rig.drain()
    for vm in vms:
        assert store.mail(vm_of(vm.event("stop"))) == [key_of(event) for event in events if vm.uuid in str(event)]
    assert store.sent() == [(identity, 1) for identity in keys(events[:5])]
    assert (rig.left(), rig.letters(), store.mailbox.pending()) == (0, [], {QUEUE: 5})


def test_what_is_taken_in_is_an_event_like_any_other(store: Store) -> None:
    rig, vm = IntakeRig(store), VmScript()
    event = vm.event("start", sealed=SEALED, zone="zone-1")
    event["data"]["vm"]["uuid"] = vm.uuid.upper()
    event["traceparent"] = f"00-{'a' * 32}-{'b' * 16}-01"
    rig.push(event)
    rig.drain()
    (message,) = store.messages(f"{QUEUE}.zone-1")
    claim = store.mailbox.claim(message.wakeup)
    assert isinstance(claim, Claim)
    assert (claim.header.queue, claim.header.sequence) == (f"{QUEUE}.zone-1", 1)
    body = json.loads(claim.body)
    assert (body["data"]["sealed"], body["data"]["vm"]["uuid"]) == (SEALED, vm.uuid)
    assert body["time"]  # given now, so that every attempt builds the same bytes
    assert claim.header.traceparent == event["traceparent"]
    store.mailbox.done(claim, finish(claim))
    assert [outcome.key for outcome in store.outcomes()] == [key_of(event)]


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
    "no store": (
        lambda event: {**event, "data": {**event["data"], "sealed": "swordfish"}},
        "invalid_event: data.sealed: ",
    ),
    "too large": (lambda _event: b" " * (MAX_EVENT_BYTES + 1), "content_too_large: event: has 67108865 bytes"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_entry_is_refused_and_the_next_one_is_not_delayed(store: Store, name: str) -> None:
    rig, vm = IntakeRig(store), VmScript()
    change, reason = BAD[name]
    first, bad, last = vm.event("start"), vm.event("start"), vm.event("start")
    rig.push(first, change(bad), last)
    rig.drain()
    assert store.mail(vm_of(first)) == keys([first, last])
    (letter,) = rig.letters()
    assert (letter.origin, letter.reason.startswith(reason)) == ("intake", True), letter.reason
    assert "swordfish" not in repr(letter)
    readable = isinstance(change(bad), dict)
    assert (letter.event_id, letter.vm_uuid) == ((bad["id"], vm.uuid) if readable else (None, None))
    published, expected = store.outcomes(), [(key_of(bad), Status.REJECTED)] if readable else []
    assert [(outcome.key, outcome.status) for outcome in published] == expected
    assert all("swordfish" not in outcome.to_json() for outcome in published)
    assert rig.left() == 0

    if readable:  # it was never stored: mended, it may come under the same id
        rig.push(bad)
        rig.drain()
        assert store.mail(vm_of(first)) == keys([first, last, bad])


def test_a_known_id_is_a_duplicate_and_nothing_is_said_of_the_first_one(store: Store) -> None:
    rig, vm = IntakeRig(store), VmScript()
    event = vm.event("start")
    broken = {**event, "type": "x"}
    rig.push(event, event, broken)
    rig.drain()
    rig.push(event)
    rig.drain()
    assert store.mail(vm_of(event)) == [key_of(event)]
    assert [letter.reason.partition(":")[0] for letter in rig.letters()] == ["duplicate", "invalid_event", "duplicate"]
    assert {(letter.event_id, letter.vm_uuid) for letter in rig.letters()} == {(event["id"], vm.uuid)}
    assert store.outcomes() == []  # whoever waits for the first one must not hear that it was rejected


def test_another_event_under_a_known_source_and_id_is_a_dead_letter_and_has_no_outcome(store: Store) -> None:
    rig, vm, other = IntakeRig(store), VmScript(), VmScript()
    event, another = vm.event("start"), {**other.event("stop")}
    rig.push(event, {**another, "id": event["id"]}, {**another, "id": event["id"], "source": "/others"})
    rig.drain()
    (letter,) = rig.letters()
    assert letter.reason == f"id_conflict: source and id are those of start #1 of VM {vm.uuid}"
    assert (letter.event_id, letter.source, letter.vm_uuid) == (event["id"], event["source"], other.uuid)
    assert [len(store.mail(vm_of(one))) for one in (event, another)] == [1, 1]
    assert store.outcomes() == []


def test_guest_data_in_the_clear_is_sealed_where_that_is_allowed(store: Store) -> None:
    rig, vm = IntakeRig(store, sealer=FakeSealer()), VmScript()
    event = vm.event("start", guest={"password": "swordfish"})
    rig.push(event)
    rig.drain()
    claim = store.mailbox.claim(store.messages()[0].wakeup)
    assert isinstance(claim, Claim)
    body = json.loads(claim.body)
    assert "guest" not in body["data"]
    assert body["data"]["sealed"].startswith("v1.")


def test_one_ingester_at_a_time_and_the_next_one_begins_when_it_leaves(store: Store) -> None:
    first, second, vm = IntakeRig(store), IntakeRig(store), VmScript()
    assert isinstance(first.intake.take(), Taken)
    busy = second.intake.take()
    assert not isinstance(busy, Taken)
    assert 0 < busy <= intake.LEASE_SECONDS
    store.client.pexpire(store.key("intake:lease"), 3_600_000)  # the clock was set back
    busy = second.intake.take()
    assert not isinstance(busy, Taken)
    left: Any = store.client.pttl(store.key("intake:lease"))
    assert max(busy, left / 1000) <= intake.LEASE_SECONDS
    first.push(vm.event("start"))
    assert second.ingester.look() > 0
    assert second.left() == 1
    second.intake.leave()  # not its own
    assert not isinstance(second.intake.take(), Taken)
    first.intake.leave()
    second.drain()
    assert (second.left(), len(store.messages())) == (0, 1)


def test_an_ingester_whose_lease_is_over_does_no_harm_when_it_is_the_first_to_settle(store: Store) -> None:
    slow, heir, vm = IntakeRig(store), IntakeRig(store), VmScript()
    events = [vm.event("stop") for _ in range(4)]
    slow.push(*events)
    taken = slow.intake.take()
    assert isinstance(taken, Taken)
    store.client.delete(store.key("intake:lease"))
    seen = heir.intake.take()
    assert seen == taken
    assert slow.intake.settle(taken.first, [slow.ingester._judged(entry) for entry in taken.entries]) is not None
    assert heir.intake.settle(taken.first, [heir.ingester._judged(entry) for entry in taken.entries]) is None
    assert store.mail(vm_of(events[0])) == keys(events)
    assert (heir.letters(), heir.left()) == ([], 0)


@pytest.mark.parametrize("spoilt", ["of another type", "with words for numbers"])
def test_keys_that_a_stranger_has_changed_hold_up_their_own_vm_only(store: Store, spoilt: str) -> None:
    rig, poor, vm = IntakeRig(store), VmScript(), VmScript()
    if spoilt == "of another type":
        store.client.set(store.key("mail", poor.uuid), "no list")
    else:
        rig.push(poor.event("start"))
        rig.drain()
        store.client.hset(store.key("vm", poor.uuid), mapping={"retry_at": 1, "attempts": "x"})
    rig.push(vm.event("start"), poor.event("stop"), vm.event("stop"))
    rig.drain()
    assert len(store.mail(vm_of(vm.event("stop")))) == 2
    (letter,) = rig.letters()
    assert (letter.vm_uuid, letter.reason.partition(":")[0]) == (poor.uuid, "misconfigured")
    assert rig.left() == 0


def test_a_full_redis_takes_nothing_and_loses_nothing(store: Store) -> None:
    rig, vm = IntakeRig(store), VmScript()
    events = [vm.event("stop"), {**vm.event("stop"), "type": "x"}, vm.event("stop")]
    rig.push(*events)
    taken = rig.intake.take()
    assert isinstance(taken, Taken)
    judged = [rig.ingester._judged(entry) for entry in taken.entries]
    for order in (judged, judged[::-1]):  # whichever is written first
        store.client.config_set("maxmemory", 1)
        try:
            with pytest.raises(redis.ResponseError, match="maxmemory"):
                rig.intake.settle(taken.first, order)
        finally:
            store.client.config_set("maxmemory", 0)
        assert (store.mail(vm_of(events[0])), rig.letters(), store.outcomes()) == ([], [], [])
    rig.drain()
    assert store.mail(vm_of(events[0])) == keys([events[0], events[2]])
    assert len(rig.letters()) == 1


def test_an_idle_list_costs_hardly_a_write(store: Store) -> None:
    rig = IntakeRig(store)
    rig.drain()

    def writes() -> int:
        return int(store.client.info("persistence")["rdb_changes_since_last_save"])

    before = writes()
    for _ in range(20):
        rig.drain()
    assert writes() - before <= 2  # within a second, where a loaded machine may take some


def test_a_batch_has_bounds_in_number_and_bytes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = IntakeRig(store)
    large = b'"' + b"x" * 1000 + b'"'
    rig.push(*[large] * 10)
    for name, value, expected in (("BYTES_AT_ONCE", 2500, 3), ("BYTES_AT_ONCE", 1, 1), ("AT_ONCE", 4, 4)):
        monkeypatch.setattr(intake, "BYTES_AT_ONCE", 10**6)
        monkeypatch.setattr(intake, "AT_ONCE", 500)
        monkeypatch.setattr(intake, name, value)
        taken = rig.intake.take()
        assert isinstance(taken, Taken)
        assert len(taken.entries) == expected
    rig.drain()
    assert (rig.left(), len(rig.letters())) == (0, 10)


def test_it_keeps_up_with_thousands_of_events(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As publishing in batches does: it goes to Redis a few times for each batch, not for each event."""
    rig, vms = IntakeRig(store), [VmScript() for _ in range(100)]
    rig.push(*(vm.event("stop") for _ in range(10) for vm in vms))
    sent: list[object] = []
    send: Any = redis.Connection.send_packed_command

    def counted(*arguments: Any, **named: Any) -> None:  # noqa: ANN401 - redis-py's own
        sent.append(arguments)
        send(*arguments, **named)

    monkeypatch.setattr(redis.Connection, "send_packed_command", counted)
    rig.drain()
    assert 0 < len(sent) < 30


class Dead(BaseException):
    """The end of a process, wherever it comes: nothing catches it."""


def test_an_ingester_may_die_before_and_after_anything_it_does(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand events, a bad one and a double here and there; the ingester dies at random places again and again."""
    monkeypatch.setattr(intake, "AT_ONCE", 7)
    feeder, vms, chance = IntakeRig(store), [VmScript() for _ in range(20)], random.Random(7)  # noqa: S311 - no secret
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
        rig = IntakeRig(store)
        rig.intake._take, rig.intake._settle = mortal(rig.intake._take), mortal(rig.intake._settle)  # type: ignore[assignment]
        with suppress(Dead):
            rig.drain()
        store.client.delete(store.key("intake:lease"))
    assert deaths > 50
    for vm in vms:
        assert store.mail(vm_of(vm.event("stop"))) == [key_of(event) for event in events if vm.uuid in str(event)]
    assert len(feeder.letters()) == bad
