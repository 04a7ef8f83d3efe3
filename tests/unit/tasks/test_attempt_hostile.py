"""An attempt over what kills workers, what is no event, and what nobody may see."""

import json
from typing import Any

import pytest

from configdrive.contract import events
from configdrive.contract.outcome import Status
from configdrive.contract.sealing import body_of
from configdrive.errors import PermanentCode, StaleCode
from configdrive.lifecycle.settled import Settled
from configdrive.model import EventKey
from tests.unit.documents import OTHER_UUID, document, event
from tests.unit.fakes.fleet import HOST_1, VM
from tests.unit.fakes.queue import QUEUE, Queue

SECRET = "sw0rdfish"


@pytest.fixture
def queue() -> Queue:
    return Queue()


# --- workers that die -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["start", "stop", "destroy"])
def test_an_event_over_which_workers_die_is_parked_or_ends_and_leaves_what_it_has(queue: Queue, word: str) -> None:
    queue.take(queue.put("deploy", start=True))
    header = queue.put(word)
    queue.die_over(header, times=2)
    verbs = len(queue.fleet.cloud.verbs)
    outcome = queue.ended(header)
    status, left = (Status.PARKED, {}) if word == "start" else (Status.APPLIED, {HOST_1: [VM]})
    assert (outcome.status, outcome.code) == (status, PermanentCode.UNCLASSIFIED)
    assert "2 times" in outcome.detail
    assert len(queue.fleet.cloud.verbs) == verbs, "it is not tried once more"
    assert queue.mailbox.leftovers(QUEUE) == left


def test_a_stale_stop_over_which_workers_die_takes_nothing_away(queue: Queue) -> None:
    queue.take(queue.put("deploy", start=True, sequence=9))
    header = queue.put("stop", sequence=8)
    queue.die_over(header, times=2)
    outcome = queue.ended(header)
    assert (outcome.status, outcome.code) == (Status.DROPPED, StaleCode.STALE_SEQUENCE)
    assert queue.mailbox.leftovers(QUEUE) == {}


# --- mail that is none ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", SECRET.encode(), b"{}", b'{"type": "sw0rdfish"}', b"[" * 5000, b'{"data": {"guest": "sw0rdfish"}}'],
)
def test_mail_that_is_no_event_goes_to_the_dead_letters_and_the_next_event_goes_on(
    queue: Queue, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    header, after = queue.post("event-0", "start", body, 7), queue.put("deploy")
    outcome = queue.ended(header)
    assert (outcome.status, outcome.code, outcome.sequence) == (Status.REJECTED, PermanentCode.INVALID_EVENT, 7)
    (letter,) = queue.mailbox.dead_letters(10)
    assert (letter.origin, letter.event_id, letter.vm_uuid) == ("mailbox", "event-0", VM)
    assert letter.reason.startswith("invalid_event: ")
    assert letter.at == queue.fleet.clock.time
    assert queue.sent == [(after.key, 1)]
    assert queue.ended(after).status is Status.APPLIED
    assert SECRET not in caplog.text + queue.store.everything()


def test_mail_that_is_larger_than_any_event_goes_to_the_dead_letters_unread(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_EVENT_BYTES", 2**12)
    header, after = queue.post("event-0", "start", b'"' + b"x" * 2**12, 7), queue.put("deploy")
    outcome = queue.ended(header)
    assert (outcome.status, outcome.code) == (Status.REJECTED, PermanentCode.CONTENT_TOO_LARGE)
    (letter,) = queue.mailbox.dead_letters(10)
    assert letter.reason.startswith("content_too_large: ")
    assert queue.ended(after).status is Status.APPLIED


def test_an_event_in_another_vm_s_mailbox_is_rejected(queue: Queue) -> None:
    strange = document("destroy", vm={"uuid": OTHER_UUID, "instance_name": "i-2-99-VM"})
    outcome = queue.ended(queue.post("event-1", "destroy", json.dumps(strange).encode()))
    assert (outcome.status, outcome.vm_uuid) == (Status.REJECTED, VM)
    assert queue.fleet.cloud.verbs == []
    assert len(queue.mailbox.dead_letters(10)) == 1


def test_an_event_under_another_s_key_is_rejected(queue: Queue) -> None:
    header = queue.put("start")
    store = queue.store
    text: Any = store.client.lindex(store.key("mail", header.vm_uuid), 0)
    forged = EventKey("of-no-event-whatsoever")
    store.client.lset(store.key("mail", header.vm_uuid), 0, text.replace(header.key.encode(), forged.encode()))
    body: Any = store.client.hget(store.key("body", header.vm_uuid), header.key)
    store.client.hset(store.key("body", header.vm_uuid), forged, body)
    ending = queue.attempts.make(store.wakeup(header))
    assert isinstance(ending, Settled)
    assert (ending.outcome.status, ending.outcome.code) == (Status.REJECTED, PermanentCode.INVALID_EVENT)
    assert store.mail(header.vm_uuid) == []


def test_an_event_under_another_id_is_rejected(queue: Queue) -> None:
    body = body_of(event("start"), queue.fleet.sealer)
    outcome = queue.ended(queue.post("another-id", "start", body))
    assert (outcome.status, outcome.event_id) == (Status.REJECTED, "another-id")
    assert queue.fleet.cloud.verbs == []


def test_what_was_sealed_for_another_event_is_parked_not_opened(queue: Queue) -> None:
    first = json.loads(body_of(event("start", guest={"password": SECRET}), queue.fleet.sealer))
    moved = document("start", sequence=2, sealed=first["data"]["sealed"])
    outcome = queue.ended(queue.post("event-2", "start", json.dumps(moved).encode(), 2))
    assert (outcome.status, outcome.code) == (Status.PARKED, PermanentCode.UNSEALABLE)


@pytest.mark.parametrize("plaintext", [b"", b'{"password": 1}', b'{"swordfish!": 1}'])
def test_sealed_data_without_guest_data_in_it_is_rejected_and_holds_nobody_up(queue: Queue, plaintext: bytes) -> None:
    first, then = document("start", sequence=1), event("start", sequence=2)
    context = f"{first['data']['vm']['uuid']}/{first['id']}"
    first["data"]["sealed"] = queue.fleet.sealer.seal(plaintext, context)
    outcome = queue.ended(queue.post(first["id"], "start", json.dumps(first).encode()))
    assert (outcome.status, outcome.code) == (Status.REJECTED, PermanentCode.INVALID_EVENT)
    assert "data.sealed" in outcome.detail
    assert "swordfish" not in outcome.detail
    (letter,) = queue.mailbox.dead_letters(10)
    assert (letter.event_id, letter.vm_uuid) == (first["id"], VM)
    body = body_of(then, queue.fleet.sealer)
    assert queue.ended(queue.post(then.id, "start", body, 2)).status is Status.APPLIED
