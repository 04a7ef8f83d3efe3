"""WAKEUP: whatever should be on its way and is not, is found; and what is on its way is not sent again."""

from typing import Any

import pytest

from tasks.mailbox import NotNow, Wakeup
from tests.mailboxes import QUEUE, RESEND, Store, again, finish, new_vm, outcome

ZONE = f"{QUEUE}.zone"


def looks(store: Store, count: int, seconds: float = RESEND / 2) -> list[tuple[str, int]]:
    """Let the look for wake-ups be made so often, with so many seconds before each; returns all that was sent."""
    sent: list[tuple[str, int]] = []
    for _ in range(count):
        store.age_queue(seconds)
        sent += store.due_now()
    return sent


def test_a_message_that_waits_for_a_worker_is_not_sent_again_however_long_it_waits(store: Store) -> None:
    headers = [store.put(new_vm()) for _ in range(5)]
    assert looks(store, 100) == []
    assert store.sent() == [(header.key, 1) for header in headers]
    store.claim(headers[0])
    assert looks(store, 100) == []
    assert len(store.messages()) == 4


def test_a_message_that_was_lost_on_its_way_is_sent_again_within_twice_the_resend_time(store: Store) -> None:
    lost, behind = store.put(new_vm()), store.put(new_vm())
    store.wakeup(lost)  # a worker died with it
    assert looks(store, 10) == [], "nobody has come with what is behind it: it may be on its way still"
    store.claim(behind)
    sent_after = next(number for number in range(1, 10) if looks(store, 1))
    assert 3 <= sent_after <= 4, "not before the resend time, and within twice of it"
    assert store.sent() == [(lost.key, 1)]
    assert looks(store, 10) == [], "once"
    claim = store.claim(lost)
    assert (claim.attempt, claim.deaths) == (1, 0)  # a lost message is nobody's fault


def test_a_list_that_was_lost_as_a_whole_is_sent_again_once(store: Store) -> None:
    headers = [store.put(new_vm()) for _ in range(250)]
    store.lose_messages()
    assert len(looks(store, 8)) == 250
    assert sorted(store.sent()) == sorted((header.key, 1) for header in headers)


@pytest.mark.parametrize("step", [-3600, 3600])
def test_a_clock_that_steps_makes_no_message_lost_that_is_not_and_delays_no_lost_one(store: Store, step: float) -> None:
    header = store.put(new_vm())
    looks(store, 3)
    store.age_queue(step)
    assert looks(store, 20, 0.0) == []
    assert len(store.messages()) == 1

    store.lose_messages()
    looks(store, 1)
    store.age_queue(step)
    assert looks(store, 4) == [(header.key, 1)]


def test_a_message_that_came_back_is_worked_on_and_breeds_no_other(store: Store) -> None:
    """kombu puts back what a worker had not begun when it was told to end."""
    vm = new_vm()
    first, second, third = store.put(vm), store.put(vm), store.put(vm)
    old = store.wakeup(first)
    assert looks(store, 4) == [(first.key, 1)], "it was held for lost"
    claim = store.mailbox.claim(old)  # and is there after all
    assert not isinstance(claim, NotNow)
    store.mailbox.done(claim, finish(claim))
    assert len(store.messages()) == 1, "there is a message for the VM already"
    store.end(second)
    assert store.sent() == [(third.key, 1)]


def test_a_stranger_s_number_makes_no_message_lost_for_long(store: Store) -> None:
    headers = [store.put(new_vm()) for _ in range(3)]
    store.mailbox.claim(Wakeup(headers[0].key, new_vm(), QUEUE, 10**15))
    taken: Any = store.client.hget(store.key("queue", QUEUE), "taken")
    assert int(taken) == 3
    assert len(looks(store, 20)) == 3, "each is doubled once"
    assert len(store.messages()) == 6


def test_live_lease_is_left_alone_even_when_its_due_time_was_lost(store: Store) -> None:
    vm = new_vm()
    header = store.put(vm)
    store.claim(header)
    store.client.zadd(store.key("due", QUEUE), {vm: 0})
    assert store.due_now() == []
    assert store.due(vm) == pytest.approx(30, abs=1)


def test_each_queue_is_looked_after_by_itself_oldest_first_and_no_more_than_asked(store: Store) -> None:
    headers = [store.put(new_vm()) for _ in range(5)]
    zone = store.put(new_vm(), queue=ZONE)
    for number, header in enumerate([*headers, zone]):
        store.mailbox.done(store.claim(header), again(1))
        store.age(header.vm_uuid, 100 - number)
    assert [sent.header for sent in store.mailbox.wake_due(QUEUE, 2)] == headers[:2]
    assert [sent.header for sent in store.mailbox.wake_due(QUEUE, 10)] == headers[2:]
    assert store.due_now(ZONE) == [(zone.key, 2)]
    assert store.due_now("configdrive.nobody") == []


def test_what_is_parked_or_empty_is_not_kept_due(store: Store) -> None:
    parked, empty = new_vm(), new_vm()
    store.parked(parked)
    header = store.put(empty)
    store.end(header)
    store.client.zadd(store.key("due", QUEUE), {parked: 0, empty: 0, new_vm(): 0})
    assert store.due_now() == []
    assert store.mailbox.pending() == {QUEUE: 0}


def test_a_look_at_an_idle_queue_writes_nothing(store: Store) -> None:
    before = _writes(store)
    assert looks(store, 5) == []
    assert _writes(store) == before


def _writes(store: Store) -> int:
    info: Any = store.client.info("persistence")
    return int(info["rdb_changes_since_last_save"])


# --- what strangers wrote ---------------------------------------------------------------------------------------------


FORGED_KEY = "of-no-event-whatsoever"
LIKE_A_HEADER = (
    f'{{"key":"{FORGED_KEY}","id":"stranger","source":"/s","type":"start","vm":"VM"'
    ',"queue":"configdrive.simulated","sequence":1,"x":X}'
)
NOBODY_S = LIKE_A_HEADER.replace("configdrive.simulated", "configdrive.nobody").replace("X", "1")


@pytest.mark.parametrize(
    "garbage",
    [
        "garbage",
        "5",
        "null",
        "[]",
        "{}",
        '{"id":"x","queue":7}',
        b"\xff\xfe",
        LIKE_A_HEADER.replace("VM", "another").replace("X", "1"),
        LIKE_A_HEADER.replace("stranger", "bad id!").replace("X", "1"),
        LIKE_A_HEADER.replace(FORGED_KEY, "short").replace("X", "1"),
        LIKE_A_HEADER.replace("/s", "\t").replace("X", "1"),
        LIKE_A_HEADER.replace('"sequence":1', '"sequence":1.5').replace("X", "1"),
        LIKE_A_HEADER.replace("configdrive.simulated", "somebody's list").replace("X", "1"),
        NOBODY_S,
    ],
)
def test_garbage_in_a_mailbox_is_a_dead_letter_and_holds_up_nobody(store: Store, garbage: str | bytes) -> None:
    vm = new_vm()
    first = store.put(vm)
    text = garbage.replace("VM", vm) if isinstance(garbage, str) else garbage
    store.client.rpush(store.key("mail", vm), text)
    third = store.put(vm)
    store.end(first)
    assert store.sent() == [(third.key, 1)]
    (letter,) = store.mailbox.dead_letters(10)
    reason = "a header without an event" if garbage == NOBODY_S else "not a header"
    assert (letter.origin, letter.reason, letter.vm_uuid, letter.event_id) == ("mailbox", reason, vm, None)
    assert abs(letter.at - store.now()) < 5
    store.end(third)
    assert store.mail(vm) == []


@pytest.mark.parametrize("due", [False, True])
@pytest.mark.parametrize("garbage", ["garbage", "{}", NOBODY_S])
def test_garbage_before_a_vm_s_first_event_does_not_hold_it_up(store: Store, garbage: str, *, due: bool) -> None:
    """Not even a header for a queue that no worker takes anything from: without a body it is no event."""
    vm = new_vm()
    store.client.rpush(store.key("mail", vm), garbage.replace("VM", vm))
    if due:
        store.client.zadd(store.key("due", QUEUE), {vm: 1})
    header = store.put(vm)
    store.due_now()
    assert store.sent() == [(header.key, 1)]
    claim = store.claim(header)
    assert len(store.mailbox.dead_letters(10)) == 1
    store.mailbox.done(claim, finish(claim))
    assert store.outcomes() == [outcome(header)]


@pytest.mark.parametrize("x", ["0x10", '"\xff"', '"\t"'], ids=["hexadecimal", "no UTF-8", "control character"])
def test_what_only_the_script_can_read_as_a_header_is_claimed_with_its_body(store: Store, x: str) -> None:
    """Which makes it a dead letter, as every event that is none (`tasks.attempt`)."""
    vm = new_vm()
    first = store.put(vm)
    strange = LIKE_A_HEADER.replace("VM", vm).replace("X", x).encode("latin-1")
    store.client.rpush(store.key("mail", vm), strange)
    store.client.hset(store.key("body", vm), FORGED_KEY, "")
    third = store.put(vm)
    claim = store.claim(first)
    assert claim.waiting == (third,)
    store.mailbox.done(claim, finish(claim))
    stranger = store.mailbox.claim(store.messages()[0].wakeup)
    assert not isinstance(stranger, NotNow)
    assert (stranger.header.key, stranger.header.forged_key, stranger.body) == (FORGED_KEY, FORGED_KEY, b"")
    store.mailbox.done(stranger, finish(stranger))
    store.end(third)
    assert store.mail(vm) == []
