"""A person's word on an event: retry, skip."""

from __future__ import annotations

import pytest

from configdrive.contract.outcome import Status
from configdrive.model import EventId
from tasks.mailbox import FencedError, NotNow, PersonsWord, Wake
from tests.integration.queue.box import QUEUE, Box, again, finish, new_vm, outcome


def test_retry_begins_the_parked_event_anew(box: Box) -> None:
    vm = new_vm()
    header = box.parked(vm)
    behind = box.put(vm)
    assert box.mailbox.word(vm, behind.event_id, PersonsWord.RETRY, None) == "not_head"
    assert box.mailbox.word(vm, header.event_id, PersonsWord.RETRY, None) == Wake(header, 1)
    assert box.mailbox.parked(10) == []
    assert box.mailbox.outcome_of(header.event_id) is None  # it waits again
    assert box.due(vm) == pytest.approx(15, abs=1)
    claim = box.claim(header)
    assert (claim.attempt, claim.deaths) == (1, 0)
    assert box.mailbox.word(vm, header.event_id, PersonsWord.RETRY, None) == "busy"
    box.mailbox.done(claim, finish(claim))
    assert [each.status for each in box.outcomes()] == [Status.PARKED, Status.APPLIED]


def test_retry_ends_a_back_off(box: Box) -> None:
    vm = new_vm()
    header = box.put(vm)
    box.mailbox.done(box.claim(header), again(300))
    assert box.mailbox.word(vm, header.event_id, PersonsWord.RETRY, None) == Wake(header, 1)
    assert box.claim(header).attempt == 1


def test_skip_gives_the_event_up_and_goes_on_with_the_next(box: Box) -> None:
    vm, zone = new_vm(), f"{QUEUE}.zone"
    header = box.parked(vm)
    behind = box.put(vm, queue=zone)
    skipped = outcome(header, Status.SKIPPED, at=2.0)
    assert box.mailbox.word(vm, header.event_id, PersonsWord.SKIP, skipped) == Wake(behind, 1)
    assert box.mail(vm) == [behind.event_id]
    assert box.mailbox.outcome_of(header.event_id) == skipped
    assert box.outcomes()[-1] == skipped
    assert box.mailbox.parked(10) == []
    assert box.due(vm) is None
    assert box.due(vm, zone) == pytest.approx(15, abs=1)
    assert box.refused(header) is NotNow.NOT_HEAD

    last = outcome(behind, Status.SKIPPED, at=3.0)
    assert box.mailbox.word(vm, behind.event_id, PersonsWord.SKIP, last) is None
    assert box.mailbox.word(vm, EventId("any"), PersonsWord.SKIP, last) == "empty"
    assert box.mailbox.pending() == {QUEUE: 0, zone: 0}
    assert box.ttl("vm", vm) > 0


@pytest.mark.parametrize("word", PersonsWord)
def test_worker_that_comes_back_after_the_word_is_fenced_off(box: Box, word: PersonsWord) -> None:
    vm = new_vm()
    header, behind = box.put(vm), box.put(vm)
    zombie = box.claim(header)
    box.age(vm, 30)
    assert isinstance(box.mailbox.word(vm, header.event_id, word, outcome(header, Status.SKIPPED, at=2.0)), Wake)
    assert not box.mailbox.renew(zombie)
    with pytest.raises(FencedError):
        box.mailbox.done(zombie, finish(zombie))
    claim = box.claim(header if word is PersonsWord.RETRY else behind)
    assert (claim.attempt, claim.deaths) == (1, 0)
