"""What the store costs, what it keeps, and what it does on a server that has forgotten or is full."""

from __future__ import annotations

import secrets
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis

from configdrive.contract.outcome import Status
from tasks.mailbox import DeadLetter, PersonsWord
from tests.integration.queue.box import QUEUE, Box, finish, new_vm, outcome, posting
from workers.store import mailbox

if TYPE_CHECKING:
    from collections.abc import Callable


def test_server_that_forgot_the_scripts_is_taught_them_again(box: Box) -> None:
    vm = new_vm()

    def forget() -> Box:
        box.client.script_flush()
        return box

    first = forget().put(vm)
    receipts = forget().mailbox.put_many([posting(vm), posting(vm)])
    claim = forget().claim(first)
    assert forget().mailbox.renew(claim)
    assert forget().mailbox.done(claim, finish(claim)) is not None
    box.age(vm, 30)
    assert len(forget().mailbox.sweep(QUEUE, 10)) == 1
    assert forget().mailbox.word(vm, receipts[0].event_id, PersonsWord.RETRY, None) is not None


def test_dead_letters_are_bounded_and_newest_first(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "DEAD_LETTERS_KEPT", 5)
    for number in range(8):
        box.mailbox.bury(DeadLetter(float(number), "broker", "why"))
    assert [letter.at for letter in box.mailbox.dead_letters(100)] == [7.0, 6.0, 5.0, 4.0, 3.0]
    vm = new_vm()
    box.put(vm)
    box.client.lpush(box.key("mail", vm), *["garbage"] * 9)
    box.age(vm, 15)
    assert len(box.mailbox.sweep(QUEUE, 10)) == 1
    assert [letter.reason for letter in box.mailbox.dead_letters(100)] == ["not a header"] * 5


def test_outcome_stream_is_trimmed(make_box: Callable[..., Box]) -> None:
    box = make_box(outcomes_kept=100)
    vm = new_vm()
    headers = [receipt.event_id for receipt in box.mailbox.put_many([posting(vm) for _ in range(400)])]
    view = box.mailbox.view(vm)
    assert view is not None
    for header in view.mail:
        claim = box.claim(header)
        box.mailbox.done(claim, finish(claim))
    kept = [each.event_id for each in box.outcomes()]
    assert 100 <= len(kept) < 300  # whole nodes of the stream are dropped, so "about"
    assert kept == headers[-len(kept) :]


def test_full_server_refuses_an_event_whole(box: Box) -> None:
    before = posting(new_vm())
    box.mailbox.put(before)
    box.client.config_set("maxmemory", 1)
    try:
        refused = posting(new_vm())
        with pytest.raises(redis.OutOfMemoryError):
            box.mailbox.put(refused)
        assert not {key for key in box.all_keys() if refused.header.vm_uuid in key or refused.header.event_id in key}
        claim = box.claim(before.header)  # what is in goes on: it makes room
        assert box.mailbox.renew(claim)
        box.mailbox.done(claim, finish(claim))
        assert box.outcomes() == [outcome(before.header)]
    finally:
        box.client.config_set("maxmemory", 0)
    assert box.mailbox.put(refused).accepted


def test_memory_of_an_idle_vm(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    """A VM that is up and quiet: its state, and the memory of one event that is finished."""
    state = secrets.token_urlsafe(580)  # what a VM with 400 bytes of cloud-config and an ssh key has, sealed
    vms = 500

    def used() -> int:
        info: Any = box.client.info("memory")
        return int(info["used_memory"])

    def life() -> None:
        receipts = box.mailbox.put_many([posting(new_vm(), "deploy") for _ in range(vms)])
        for receipt in receipts:
            assert receipt.wake is not None
            claim = box.claim(receipt.wake.header)
            box.mailbox.done(claim, finish(claim, state))

    life()  # what is needed once is there
    box.client.delete(box.key("outcomes"))
    before = used()
    life()
    box.client.delete(box.key("outcomes"))
    per_vm = (used() - before) / vms
    with capsys.disabled():
        sys.stdout.write(
            f"\n[measured] Redis memory of an idle VM with {len(state)} bytes of state: {per_vm:.0f} bytes\n"
        )
    assert per_vm < 1536


def test_times_are_the_servers(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose clock is a day ahead takes no lease from anybody."""
    vm = new_vm()
    header = box.put(vm)
    claim = box.claim(header)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 86_400)
    assert box.mailbox.sweep(QUEUE, 10) == []
    assert box.mailbox.renew(claim)
    box.mailbox.done(claim, finish(claim))
    assert [each.status for each in box.outcomes()] == [Status.APPLIED]
