"""The producers' door: what comes in is checked, sealed, stored once, and a worker is woken."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from typing_extensions import override

from configdrive.contract.events import parse
from configdrive.contract.outcome import Outcome, Status
from configdrive.contract.sealing import guest_of
from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import EventId, HypervisorName
from tasks import publish
from tasks.mailbox import Finish, Posting, Receipt, Wake
from tasks.publish import LifecyclePublisher
from tasks.wakeup import WakeUps
from tests.unit.documents import OTHER_UUID, UUID, Json, document, event
from tests.unit.fakes.mailbox import MemoryMailbox
from tests.unit.fakes.small import FakeClock, FakeSealer

SECRET = "sw0rdfish"


class Recorder(WakeUps):
    """Remembers the wake-ups, one by one and in batches."""

    def __init__(self) -> None:
        self.sent: list[Wake] = []
        self.batches: list[int] = []

    @override
    def send(self, wake: Wake) -> None:
        self.sent.append(wake)

    @override
    def send_many(self, wakes: Any) -> None:
        self.batches.append(len(wakes))
        self.sent.extend(wakes)


class Door:
    """A publisher and what is behind it."""

    def __init__(self) -> None:
        self.mailbox = MemoryMailbox(FakeClock())
        self.wakeups = Recorder()
        self.sealer = FakeSealer()
        self.publisher = LifecyclePublisher(
            self.mailbox,
            self.wakeups,
            self.sealer,
            hypervisors=[HypervisorName("memory"), HypervisorName("kvm")],
            zones=["z1"],
        )

    @property
    def stored(self) -> list[Posting]:
        return [posting for box in self.mailbox.boxes.values() for posting in box.mail]


@pytest.fixture
def door() -> Door:
    return Door()


def refusal(door: Door, sent: Any) -> PermanentError:  # noqa: ANN401 - anything that somebody may send
    with pytest.raises(PermanentError) as caught:
        door.publisher.publish(sent)
    assert door.stored == []
    assert door.wakeups.sent == []
    return caught.value


def many(count: int, **data: object) -> Iterator[Json]:
    for number in range(1, count + 1):
        yield document("update", **{"sequence": number} | data)


# --- one event --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["document", "text", "bytes", "event"])
def test_takes_an_event_in_every_form(door: Door, form: str) -> None:
    sent = document("start", guest={"password": SECRET})
    forms = {
        "document": sent,
        "text": json.dumps(sent),
        "bytes": json.dumps(sent).encode(),
        "event": parse(json.dumps(sent)),
    }
    receipt = door.publisher.publish(forms[form])
    (posting,) = door.stored
    assert receipt.accepted
    assert [wake.header for wake in door.wakeups.sent] == [posting.header]
    taken = parse(posting.body)
    assert guest_of(taken, door.sealer).password is not None


def test_the_header_says_what_routes_the_event_and_nothing_else(door: Door) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    sent = document("password_reset", sequence=7, guest={"password": SECRET}) | {"traceparent": trace}
    header = door.publisher.posting(sent).header
    assert (header.event_id, header.event_type, header.vm_uuid) == ("event-7", "password_reset", UUID)
    assert (header.queue, header.sequence, header.traceparent) == ("configdrive.memory", 7, trace)


@pytest.mark.parametrize(("zone", "queue"), [("z1", "configdrive.kvm.z1"), ("z9", "configdrive.kvm"), (None, None)])
def test_a_zone_has_a_queue_of_its_own_only_where_it_is_set_up(door: Door, zone: str | None, queue: str | None) -> None:
    header = door.publisher.posting(document("stop", hypervisor="KVM", zone=zone)).header
    assert header.queue == (queue or "configdrive.kvm")


def test_secrets_are_sealed_before_anything_is_stored(door: Door) -> None:
    guest = {"password": SECRET, "user_data": {"text": SECRET}, "metadata": {"vm_id": SECRET}}
    door.publisher.publish(document("deploy", guest=guest))
    assert SECRET not in door.mailbox.everything()
    assert SECRET not in repr(door.wakeups.sent)


def test_an_id_that_is_known_is_not_stored_again_and_tells_the_first_outcome(door: Door) -> None:
    first = door.publisher.publish(event("deploy"))
    again = door.publisher.publish(event("deploy"))
    assert (first.accepted, again) == (True, Receipt(EventId("event-1"), accepted=False))
    claim = door.mailbox.claim(door.stored[0].header.vm_uuid, EventId("event-1"))
    assert not isinstance(claim, str)
    outcome = Outcome("event-1", "deploy", UUID, 1, Status.APPLIED, 1.0)
    door.mailbox.done(claim, Finish(outcome))
    assert door.publisher.publish(event("destroy")).first == outcome
    assert door.stored == []
    assert len(door.wakeups.sent) == 1


def test_only_the_first_of_a_vm_s_events_wakes_a_worker(door: Door) -> None:
    for number in (1, 2, 3):
        door.publisher.publish(event("update", sequence=number))
    assert [wake.header.event_id for wake in door.wakeups.sent] == ["event-1"]
    door.publisher.publish(document("update", sequence=9, vm={"uuid": OTHER_UUID, "instance_name": "i"}))
    assert len(door.wakeups.sent) == 2


# --- refusals ---------------------------------------------------------------------------------------------------------


def circle() -> Json:
    sent = document("start")
    sent["data"]["guest"] = sent
    return sent


@pytest.mark.parametrize(
    "sent",
    [
        "",
        b"\xff",
        "[]",
        {},
        document("start", label="x" * 17),
        document("start", guest={"password": object()}),
        document("start", guest={"password": b"sw0rdfish"}),
        document("start", guest={"password": "sw0rdfish\ud800"}),
        document("start", sequence=float("nan")),
        {1j: "x"},
        circle(),
    ],
)
def test_what_is_no_event_is_refused_and_nothing_is_stored(door: Door, sent: Any) -> None:  # noqa: ANN401
    error = refusal(door, sent)
    assert error.code is PermanentCode.INVALID_EVENT
    assert SECRET not in repr(error)
    assert error.__context__ is None


def test_an_unknown_hypervisor_is_refused_with_those_that_are_known(door: Door) -> None:
    error = refusal(door, document("start", hypervisor="hyperv"))
    assert error.code is PermanentCode.UNKNOWN_HYPERVISOR
    assert "kvm, memory" in error.remedy


def test_what_is_too_large_once_sealed_is_refused(door: Door) -> None:
    error = refusal(door, event("start", guest={"user_data": {"text": '"' * (26 * 2**20)}}))
    assert error.code is PermanentCode.CONTENT_TOO_LARGE


# --- many events ------------------------------------------------------------------------------------------------------


def test_many_events_are_stored_in_order_in_batches(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    put_many = door.mailbox.put_many

    def counted(postings: list[Posting]) -> list[Receipt]:
        sizes.append(len(postings))
        return put_many(postings)

    monkeypatch.setattr(door.mailbox, "put_many", counted)
    receipts = list(door.publisher.publish_many(many(1201)))
    assert sizes == [500, 500, 201]
    assert [receipt.event_id for receipt in receipts] == [f"event-{number}" for number in range(1, 1202)]
    assert [posting.header.sequence for posting in door.stored] == list(range(1, 1202))
    assert len(door.wakeups.sent) == 1, "it is one VM's events"


def test_large_events_make_smaller_batches(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "_BATCH_BYTES", 10_000)
    list(door.publisher.publish_many(many(6, guest={"user_data": {"text": "x" * 4_000}})))
    assert door.wakeups.batches == [1, 0, 0]


def test_events_are_read_only_as_far_as_they_are_stored(door: Door) -> None:
    endless = (document("update", sequence=number) for number in itertools.count(1))
    receipts = door.publisher.publish_many(endless)
    next(receipts)
    assert len(door.stored) == 500


def test_at_the_first_bad_event_those_before_it_are_stored_and_none_behind(door: Door) -> None:
    events = [document("update", sequence=1), document("update", sequence=-1), document("update", sequence=3)]
    receipts = door.publisher.publish_many(events)
    assert next(receipts).accepted
    with pytest.raises(PermanentError, match="sequence"):
        next(receipts)
    assert [posting.header.event_id for posting in door.stored] == ["event-1"]
    assert len(door.wakeups.sent) == 1


def test_bad_events_may_be_told_and_left_out(door: Door) -> None:
    bad, good = document("update", sequence=-1), document("update", sequence=4)
    events: list[Json | str] = [*many(2), bad, good, "nonsense"]
    told: list[tuple[int, PermanentCode]] = []
    receipts = list(
        door.publisher.publish_many(events, lambda index, error: told.append((index, PermanentCode(error.code))))
    )
    assert [receipt.event_id for receipt in receipts] == ["event-1", "event-2", "event-4"]
    assert told == [(2, PermanentCode.INVALID_EVENT), (4, PermanentCode.INVALID_EVENT)]


def test_no_events_are_no_work(door: Door) -> None:
    assert list(door.publisher.publish_many([])) == []
    assert door.wakeups.batches == []


# --- waiting ----------------------------------------------------------------------------------------------------------


def finish(door: Door, status: Status = Status.APPLIED) -> Outcome:
    header = door.stored[0].header
    claim = door.mailbox.claim(header.vm_uuid, header.event_id)
    assert not isinstance(claim, str)
    outcome = Outcome(header.event_id, header.event_type, header.vm_uuid, header.sequence, status, 1.0)
    door.mailbox.done(claim, Finish(outcome))
    return outcome


def test_waiting_for_what_has_come_already_returns_at_once(door: Door) -> None:
    door.publisher.publish(event("deploy"))
    outcome = finish(door)
    assert door.publisher.wait("event-1", 0) == outcome


def test_waiting_returns_when_the_outcome_comes_and_not_another_s(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2):
        door.publisher.publish(event("update", sequence=number))
    asked: list[str] = []
    outcomes = door.mailbox.outcomes

    def working(after: str, block_seconds: float) -> Iterator[tuple[str, Outcome]]:
        asked.append(after)
        assert block_seconds <= 0.25
        finish(door)
        return outcomes(after, block_seconds)

    monkeypatch.setattr(door.mailbox, "outcomes", working)
    found = door.publisher.wait("event-2", 30)
    assert found is not None
    assert found.event_id == "event-2"
    assert asked == ["0", "1"], "the position moves on"


def test_waiting_ends_when_the_time_is_over(door: Door) -> None:
    door.publisher.publish(event("deploy"))
    assert door.publisher.wait("event-1", 0.01) is None
