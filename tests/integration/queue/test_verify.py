"""VERIFY: VMs that may have been left half-done are noted, and stay noted until somebody has looked."""

from dataclasses import replace

from configdrive.lifecycle.settled import Verified
from configdrive.lifecycle.state import Leftover
from configdrive.model import HostName, HypervisorName, Intent, Place, StorageName, VmUuid
from tasks.mailbox import Doubt, OperatorAction
from tasks.wakeup import VERIFY
from tests.mailboxes import LEASE, QUEUE, RESEND, Store, finish, new_vm, outcome

SIMULATED, H1 = HypervisorName("simulated"), HostName("h1")
INTENT = Intent(H1, "id of h1", Place(StorageName("s"), H1), "an image", SIMULATED)


def doubted(store: Store) -> list[VmUuid]:
    return [doubt.vm_uuid for doubt in store.mailbox.doubts(QUEUE)]


def noted(store: Store) -> tuple[VmUuid, Doubt]:
    """Have a VM verified; nothing waits for it."""
    vm = new_vm()
    store.end(store.put(vm))
    store.mailbox.note_doubt(QUEUE, vm)
    return vm, next(doubt for doubt in store.mailbox.doubts(QUEUE) if doubt.vm_uuid == vm)


def test_one_message_is_sent_for_all_at_their_pace(store: Store) -> None:
    noted(store)
    noted(store)
    store.lose_messages()
    assert store.mailbox.ask_hosts(QUEUE, 30) == [], "no host is meant"
    (message,) = store.messages()
    assert message.arguments == [VERIFY, message.number]
    store.age_all(31)
    store.mailbox.ask_hosts(QUEUE, 30)
    assert len(store.messages()) == 1, "it was not taken yet"
    store.mailbox.question_arrived(QUEUE, VERIFY, message.number)
    store.mailbox.ask_hosts(QUEUE, 30)
    assert len(store.messages()) == 1, "nor is it time"
    store.age_all(31)
    store.mailbox.ask_hosts(QUEUE, 30)
    assert len(store.messages()) == 2


def test_what_was_found_is_written_and_the_vm_noted_no_more_in_one_step(store: Store) -> None:
    vm, doubt = noted(store)
    held = store.hold(vm)
    assert store.mailbox.intend(held, [INTENT])
    left = Leftover(SIMULATED, H1, places=(INTENT.place,))
    store.mailbox.release_verified(held, doubt, Verified("state", left=(left,), intents=(INTENT,)))
    store.mailbox.release_verified(held, doubt, Verified("state", left=(left,), intents=(INTENT,)))  # a lost answer
    assert (doubted(store), store.mailbox.intents(vm), store.field(vm, "state")) == ([], (), "state")
    assert store.mailbox.leftovers(QUEUE) == {H1: [vm]}
    assert store.mailbox.ask_hosts(QUEUE, 30) == []
    store.age_all(RESEND)
    assert store.mailbox.ask_hosts(QUEUE, 30) == [H1]


def test_a_vm_is_remembered_as_long_as_something_that_was_about_to_be_done_is(store: Store) -> None:
    """And the event that has looked at it forgets it in the step in which it ends."""
    vm = new_vm()
    claim = store.claim(store.put(vm))
    assert store.mailbox.intend(claim, [INTENT])
    store.mailbox.done(claim, finish(claim, None))
    assert (store.mailbox.intents(vm), store.ttl("vm", vm)) == ((INTENT,), -1)
    store.mailbox.release(store.hold(vm))
    assert store.ttl("vm", vm) == -1
    header = store.parked(vm)
    assert store.mailbox.act(vm, header.key, OperatorAction.SKIP, outcome(header)) is None
    assert store.ttl("vm", vm) == -1
    claim = store.claim(store.put(vm))
    store.mailbox.done(claim, replace(finish(claim, None), intents=(INTENT,)))
    assert store.mailbox.intents(vm) == ()
    assert store.ttl("vm", vm) > 0


def test_what_a_late_worker_may_have_done_is_not_forgotten_by_whoever_has_looked_before(store: Store) -> None:
    vm = new_vm()
    header = store.put(vm)
    assert store.mailbox.intend(store.claim(header), [INTENT])
    store.age(vm, LEASE)
    claim = store.claim(header)
    assert claim.intents == (INTENT,)
    store.mailbox.note_doubt(QUEUE, vm, [INTENT])  # the late one has gone on
    store.mailbox.done(claim, replace(finish(claim), intents=claim.intents))
    assert store.mailbox.intents(vm) == (INTENT,)
    for noted_again, remains in ((True, (INTENT,)), (False, ())):
        (doubt,) = store.mailbox.doubts(QUEUE)
        held = store.hold(vm)
        if noted_again:
            store.mailbox.note_doubt(QUEUE, vm, [INTENT])
        store.mailbox.release_verified(held, doubt, Verified(intents=(INTENT,)))
        assert store.mailbox.intents(vm) == remains


def test_a_doubt_that_came_meanwhile_stays(store: Store) -> None:
    vm, doubt = noted(store)
    held = store.hold(vm)
    store.client.zincrby(store.key("verify", QUEUE), 1, vm)
    store.mailbox.release_verified(held, doubt, Verified())
    assert doubted(store) == [vm]
