"""TRIALS: what is parked because a place was away goes on by itself when that is back, at little cost."""

import itertools
from collections.abc import Callable

import pytest
import redis

from configdrive.client.postings import Header
from configdrive.contract.outcome import Status
from configdrive.lifecycle.settled import Settled
from rigs.invariants import Auditor
from tasks.mailbox import Claim, Ending, NotNow, Park, Retry
from tests.mailboxes import QUEUE, Store, again, finish, new_vm, outcome, park

AWAY = "host_unreachable"
H1, H2 = "host h1", "host h2"
PAUSE = 30.0
_CLOCK = (float(second) for second in itertools.count(1))


def away(header: Header, place: str = H1, code: str = AWAY, *, stays: bool = False) -> Park:
    """Return the end of an attempt whose place is away (still)."""
    return Park(outcome(header, Status.PARKED, code, at=next(_CLOCK)), place, stays)


class Fleet:
    """A store that is judged after each step."""

    def __init__(self, client: redis.Redis) -> None:
        self.store = Store(client)
        self._auditor = Auditor(client, self.store.prefix)

    def parked(self, place: str = H1, kind: str = "start") -> Header:
        """Park a new VM's first event for a place that is away."""
        header = self.store.put(new_vm(), kind)
        self.end(self.store.claim(header), away(header, place))
        return header

    def end(self, claim: Claim, ending: Ending | None = None) -> None:
        """Let a worker say how its attempt ended; left out, well."""
        self.store.mailbox.done(claim, ending or finish(claim))
        self._auditor.check()

    def is_parked(self, header: Header) -> bool:
        """Whether operators see it so."""
        return header.vm_uuid in {uuid for uuid, _ in self.store.mailbox.parked(1000)}

    def tried(self, seconds: float = PAUSE) -> list[Header]:
        """Let so much time pass and a pass be made; returns the events that it has tried again."""
        self.store.age_all(seconds)
        sent = self.store.mailbox.try_parked(QUEUE, PAUSE)
        assert {one.attempt for one in sent} <= {1}
        self._auditor.check()
        return [one.header for one in sent]

    def in_vain(self, header: Header) -> None:
        """Let a worker find the place away still."""
        claim = self.store.claim(header)
        assert (claim.trial, claim.attempt) == (AWAY, 1)
        self.end(claim, away(header, stays=True))


@pytest.fixture
def fleet(empty: redis.Redis) -> Fleet:
    return Fleet(empty)


def test_one_vm_of_a_place_is_tried_at_a_time_each_in_its_turn_and_nothing_is_published_in_vain(fleet: Fleet) -> None:
    first, second, third = (fleet.parked() for _ in range(3))
    published = fleet.store.outcomes()
    assert fleet.tried(0) == [], "it was away a moment ago"
    tried = []
    for _ in range(4):
        (header,) = fleet.tried()
        assert fleet.tried(1) == [], "one at a time"
        assert fleet.is_parked(header), "it is, as long as nothing else is known"
        fleet.in_vain(header)
        assert fleet.is_parked(header)
        assert fleet.store.refused(header) is NotNow.PARKED
        tried.append(header)
    assert tried == [first, second, third, first]
    assert fleet.store.outcomes() == published


def test_all_of_a_place_go_on_once_one_has_found_it_back(fleet: Fleet) -> None:
    first, *others = (fleet.parked() for _ in range(3))
    elsewhere = fleet.parked(H2)
    assert fleet.tried() == [first, elsewhere], "each place has its own"
    fleet.end(fleet.store.claim(first))
    assert not fleet.is_parked(first)
    assert fleet.tried(0) == others, "at once"
    for header in others:
        fleet.end(fleet.store.claim(header))
    fleet.end(fleet.store.claim(elsewhere))
    assert fleet.tried() == []
    assert [kind for kind in fleet.store.all_keys() if kind.startswith("away")] == []


@pytest.mark.parametrize(
    "ending",
    [lambda _: again(1.0), lambda claim: park(claim, "no_free_slot")],
    ids=["is tried again", "is parked for another cause"],
)
def test_whatever_an_attempt_comes_to_that_is_not_for_the_place_says_that_it_is_back(
    fleet: Fleet, ending: Callable[[Claim], Retry | Park]
) -> None:
    first, second = fleet.parked(), fleet.parked()
    assert fleet.tried() == [first]
    claim = fleet.store.claim(first)
    fleet.end(claim, ending(claim))
    assert fleet.is_parked(first) == isinstance(ending(claim), Park)
    assert fleet.tried(0) == [second]


@pytest.mark.parametrize("code", ["superseded", "stale_sequence", "vm_gone"])
def test_an_event_that_was_dropped_says_nothing_of_the_place(fleet: Fleet, code: str) -> None:
    first, second = fleet.parked(), fleet.parked()
    assert fleet.tried() == [first]
    claim = fleet.store.claim(first)
    fleet.end(claim, Settled(outcome(first, Status.DROPPED, code, at=next(_CLOCK))))
    assert fleet.tried(0) == []
    assert fleet.tried() == [second]


def test_those_that_need_another_place_as_well_are_not_tried_again_and_again(fleet: Fleet) -> None:
    """Half of the VMs of a host that is back are on a storage that is not, which nobody can tell beforehand."""
    good, bad = fleet.parked(), [fleet.parked() for _ in range(5)]
    better = fleet.parked()
    assert fleet.tried() == [good]
    fleet.end(fleet.store.claim(good))
    assert fleet.tried(0) == [*bad, better]
    for header in bad:
        fleet.in_vain(header)
    fleet.end(fleet.store.claim(better))
    assert fleet.tried(0) == [], "who was not tried alone says nothing of the others"
    assert len(fleet.tried()) == 1


def test_a_clock_that_was_set_back_keeps_nobody_waiting(fleet: Fleet) -> None:
    header = fleet.parked()
    fleet.store.age_all(-86_400)
    assert fleet.tried(0) == []
    assert fleet.tried(PAUSE + 1) == [header]
