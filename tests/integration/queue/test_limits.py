"""What the store costs, what it keeps, and what it does on a server that has forgotten or is full."""

import json
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import redis

from configdrive.client.postings import Posting
from configdrive.client.replication import NotReplicatedError
from configdrive.contract.outcome import Status
from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import HostName, Intent, Place, StorageName, VmUuid
from rigs.cloud import VmScript, key_of
from tasks.mailbox import Claim, DeadLetter, OperatorAction, Wakeup
from tests.integration.queue.intake_rig import SEALED, IntakeRig, library
from tests.mailboxes import QUEUE, Store, finish, new_vm, outcome, posting, receipts
from workers.store.mailbox import DEAD_LETTERS_KEPT, RedisMailbox


def test_server_that_forgot_the_scripts_is_taught_them_again(store: Store) -> None:
    vm = new_vm()

    def forget() -> Store:
        store.client.script_flush()
        return store

    first = forget().put(vm)
    stored = receipts(forget().mailbox.put_many([posting(vm), posting(vm)]))
    claim = forget().claim(first)
    assert forget().mailbox.renew(claim)
    forget().mailbox.done(claim, finish(claim))
    assert forget().due_now() == []
    assert forget().mailbox.act(vm, stored[0].key, OperatorAction.RETRY, None) is None


def test_what_a_worker_goes_by_counts_only_when_replicas_have_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("configdrive.client.replication._ONE_WAIT_SECONDS", 0.001)
    mailbox = RedisMailbox(store.client, replace(store.options, replicas=1, replica_seconds=0.01))
    first, second, idle = store.put(new_vm()), store.put(new_vm()), new_vm()
    claim = store.claim(first)
    asks: tuple[Callable[[], object], ...] = (
        lambda: mailbox.put(posting(idle)),
        lambda: mailbox.claim(store.wakeup(second)),
        lambda: mailbox.hold(new_vm()),
        lambda: mailbox.intend(claim, [Intent(HostName("h1"), "", Place(StorageName("s")), "an image")]),
    )
    for ask in asks:
        with pytest.raises(NotReplicatedError):
            ask()
    assert mailbox.renew(claim), "it costs no waiting"


def sized(vm: VmUuid, kind: str = "update", size: int = 1000) -> Posting:
    return replace(posting(vm, kind), body=b"x" * size)


def refused(store: Store, item: Posting) -> PermanentError:
    with pytest.raises(PermanentError) as caught:
        store.mailbox.put(item)
    assert caught.value.code is PermanentCode.MAILBOX_FULL
    return caught.value


def test_what_waits_for_a_vm_is_bounded_and_a_stop_or_destroy_always_gets_in(make_store: Callable[..., Store]) -> None:
    store, vm = make_store(mailbox_bytes=10_000), new_vm()
    refused(store, sized(vm, size=10_000))
    assert store.all_keys() == set(), "an event that is larger by itself leaves nothing"
    store.mailbox.put_many([sized(vm) for _ in range(20)])
    waiting = len(store.mail(vm))
    assert 6 <= waiting <= 8, "headers count"
    before = store.everything()
    error = refused(store, sized(vm))
    assert "mailbox_bytes" in error.detail + error.remedy
    assert vm in error.detail
    assert "configdrive show" in error.remedy
    assert store.everything() == before
    store.mailbox.put(sized(new_vm()))  # another VM's mailbox is its own

    for kind in ("stop", "destroy"):
        store.mailbox.put(sized(vm, kind, 20_000))
    assert len(store.mail(vm)) == waiting + 2
    refused(store, sized(vm))
    for _ in range(waiting + 1):
        claim = store.mailbox.claim(Wakeup(store.mail(vm)[0], vm, QUEUE))
        assert isinstance(claim, Claim)
        store.mailbox.done(claim, finish(claim))
    refused(store, sized(vm))
    (last,) = store.mail(vm)
    view = store.view(vm)
    assert store.mailbox.act(vm, last, OperatorAction.SKIP, outcome(view.mail[0], Status.SKIPPED)) is None
    store.mailbox.put(sized(vm))
    assert len(store.mail(vm)) == 1


def test_by_the_other_ways_the_refusal_says_the_same(make_store: Callable[..., Store]) -> None:
    store, vm = make_store(mailbox_bytes=1500), VmScript()
    rig, functions = IntakeRig(store), library(store)
    store.client.function_load(functions.code, replace=True)
    large = {**vm.event("start", sealed=f"{SEALED}{'A' * 1500}", sequence=2**53 - 1), "time": "2026-03-10T12:33:00Z"}
    said = refused(store, sized(VmUuid(vm.uuid), size=1500))
    with pytest.raises(redis.ResponseError, match=r"^MAILBOX_FULL event: ") as caught:
        store.client.fcall(functions.put, 0, json.dumps(large))
    assert said.remedy in str(caught.value)
    stop = vm.event("stop")
    rig.push(large, stop)
    rig.drain()
    (letter,), (ended,) = rig.letters(), store.outcomes()
    assert letter.reason.startswith("mailbox_full: event: 0 bytes wait for VM ")
    assert (ended.key, ended.status, ended.code) == (key_of(large), Status.REJECTED, "mailbox_full")
    assert (ended.sequence, ended.remedy, ended.vm_uuid) == (2**53 - 1, said.remedy, vm.uuid)
    assert abs(ended.at - store.now()) < 60
    assert store.mail(VmUuid(vm.uuid)) == [key_of(stop)]
    store.client.function_delete(functions.name)


def test_dead_letters_are_bounded_and_newest_first(store: Store) -> None:
    store.client.lpush(store.key("dead"), *["{}"] * (DEAD_LETTERS_KEPT - 2))
    for number in range(8):
        store.mailbox.dead_letter(DeadLetter(float(number), "broker", "why"))
    assert [letter.at for letter in store.mailbox.dead_letters(3)] == [7.0, 6.0, 5.0]
    assert store.mailbox.numbers(()).dead_letters == DEAD_LETTERS_KEPT
    vm = new_vm()
    header = store.put(vm)
    store.client.lpush(store.key("mail", vm), *["garbage"] * 9)
    store.claim(header)
    assert [letter.reason for letter in store.mailbox.dead_letters(10)] == ["not a header"] * 9 + ["why"]
    assert store.mailbox.numbers(()).dead_letters == DEAD_LETTERS_KEPT


def test_outcome_stream_is_trimmed(make_store: Callable[..., Store]) -> None:
    store = make_store(outcomes_kept=100)
    with store.client.pipeline() as pipeline:
        for _ in range(250):
            pipeline.xadd(store.key("outcomes"), {"event": "older", "outcome": ""})
        pipeline.execute()
    header = store.put(new_vm())
    store.end(header)
    kept: Any = store.client.xrange(store.key("outcomes"))
    assert 100 <= len(kept) < 250  # whole nodes of the stream are dropped, so "about"
    assert kept[-1][1][b"event"].decode() == header.key


def test_full_server_refuses_an_event_whole(store: Store) -> None:
    before = posting(new_vm())
    store.mailbox.put(before)
    store.client.config_set("maxmemory", 1)
    try:
        refused = posting(new_vm())
        with pytest.raises(redis.OutOfMemoryError):
            store.mailbox.put(refused)
        assert not {key for key in store.all_keys() if refused.header.vm_uuid in key or refused.header.key in key}
        claim = store.claim(before.header)  # what is in goes on: it makes room
        assert store.mailbox.renew(claim)
        store.mailbox.done(claim, finish(claim))
        assert store.outcomes() == [outcome(before.header)]
    finally:
        store.client.config_set("maxmemory", 0)
    assert store.mailbox.put(refused).accepted


def test_memory_of_an_idle_vm(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """A VM that is up and quiet: its state, and the memory of one event that is finished."""
    state = secrets.token_urlsafe(580)  # what a VM with 400 bytes of cloud-config and an ssh key has, sealed
    vms = 200

    def used() -> int:
        info: Any = store.client.info("memory")
        return int(info["used_memory"])

    def life() -> None:
        items = [posting(new_vm(), "deploy") for _ in range(vms)]
        store.mailbox.put_many(items)
        for item in items:
            store.end(item.header, state)

    life()  # what is needed once is there
    store.client.delete(store.key("outcomes"))
    before = used()
    life()
    store.client.delete(store.key("outcomes"))
    per_vm = (used() - before) / vms
    with capsys.disabled():
        sys.stdout.write(
            f"\n[measured] Redis memory of an idle VM with {len(state)} bytes of state: {per_vm:.0f} bytes\n"
        )
    assert per_vm < 3072


def test_times_are_the_servers(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose clock is a day ahead takes no lease from anybody."""
    vm = new_vm()
    header = store.put(vm)
    claim = store.claim(header)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 86_400)
    assert store.due_now() == []
    assert store.mailbox.renew(claim)
    store.mailbox.done(claim, finish(claim))
    assert [each.status for each in store.outcomes()] == [Status.APPLIED]
