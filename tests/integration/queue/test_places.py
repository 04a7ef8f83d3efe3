"""What the fleet knows of places that hang: who may be there, from when on, and until when."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from configdrive.errors import TransientError
from configdrive.model import HostName, HypervisorName, Place, StorageName
from configdrive.places import at
from tasks.isolation import Found, Isolation
from tasks.mailbox import Retry
from tests.mailboxes import DOUBT, Store, new_vm

SIMULATED = HypervisorName("simulated")
NFS = "storage nfs"


@pytest.fixture
def store() -> Store:
    return Store()


def time_passes(store: Store, seconds: float) -> None:
    """Move what is known of the place into the past."""
    key = f"{store.prefix}places:simulated"
    known: Any = store.client.hget(key, NFS)
    if known is not None:
        word, moment = known.decode().split()
        store.client.hset(key, NFS, f"{word} {int(moment) - round(seconds * 1000)}")


def doubted_for_long(store: Store) -> list[Found]:
    """Let two attempts wait at a place; returns what is said to them once nobody has come out of it for long."""
    places = store.places
    assert {places.doubt_place(SIMULATED, NFS, one) for one in ("one", "two")} == {Found.OPEN}
    time_passes(store, DOUBT)
    return [places.doubt_place(SIMULATED, NFS, one) for one in ("one", "two")]


def test_one_attempt_stays_at_a_place_out_of_which_nobody_comes(store: Store) -> None:
    assert doubted_for_long(store) == [Found.MINE, Found.TAKEN]
    assert store.places.enter_place(SIMULATED, NFS, "three") is Found.TAKEN
    assert store.places.enter_place(HypervisorName("kvm"), NFS, "three") is Found.OPEN
    store.places.leave_place(SIMULATED, NFS, "one", hangs=True)
    assert store.places.enter_place(SIMULATED, NFS, "three") is Found.MINE
    assert store.places.enter_place(SIMULATED, NFS, "one") is Found.TAKEN


def test_who_comes_out_well_opens_the_place_and_it_is_forgiven_to_be_slow(store: Store) -> None:
    doubted_for_long(store)
    store.places.leave_place(SIMULATED, NFS, "one", hangs=False)
    assert store.places.enter_place(SIMULATED, NFS, "two") is Found.OPEN
    assert doubted_for_long(store) == [Found.OPEN, Found.OPEN]
    store.places.leave_place(SIMULATED, NFS, "two", hangs=True)  # but a call that timed out is no slow one
    assert doubted_or_taken(store) == [Found.MINE, Found.TAKEN]


def doubted_or_taken(store: Store) -> list[Found]:
    return [store.places.doubt_place(SIMULATED, NFS, one) for one in ("one", "two")]


def test_doubt_ends_when_somebody_comes_out(store: Store) -> None:
    assert store.places.doubt_place(SIMULATED, NFS, "one") is Found.OPEN
    store.places.leave_place(SIMULATED, NFS, "one", hangs=False)
    time_passes(store, DOUBT)
    assert store.places.doubt_place(SIMULATED, NFS, "two") is Found.OPEN


def test_who_dies_there_keeps_nobody_out_for_long(store: Store) -> None:
    doubted_for_long(store)
    assert 0 < store.client.pttl(f"{store.prefix}busy:simulated {NFS}") <= 10_000


def test_a_clock_that_was_set_back_keeps_no_place_closed(store: Store) -> None:
    now: Any = store.client.time()
    for word in ("hangs", "doubted", "forgiven"):
        store.client.hset(f"{store.prefix}places:simulated", NFS, f"{word} {(now[0] + 7200) * 1000}")
        assert store.places.enter_place(SIMULATED, NFS, "one") is Found.OPEN
    assert doubted_for_long(store) == [Found.MINE, Found.TAKEN]


def test_a_claim_says_what_hangs_and_what_was_deferred_was_no_attempt(store: Store) -> None:
    header = store.put(new_vm())
    store.places.leave_place(SIMULATED, NFS, "another", hangs=True)
    store.places.leave_place(HypervisorName("kvm"), "host kvm-01", "another", hangs=True)
    for _ in range(3):
        claim = store.claim(header)
        assert (claim.hanging, claim.attempt) == (frozenset({NFS}), 1)
        store.mailbox.done(claim, Retry(0, "deferred", counted=False))
        store.due_now()
    store.mailbox.done(store.claim(header), Retry(0, "host_unreachable"))
    store.due_now()
    assert store.claim(header).attempt == 2


@contextmanager
def in_other_words() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RuntimeError from error


def test_an_attempt_knows_the_innermost_place_where_its_latest_error_came_from(store: Store) -> None:
    isolation = Isolation(store.places)
    store.places.leave_place(SIMULATED, NFS, "another", hangs=True)
    store.places.enter_place(SIMULATED, NFS, "another")
    host, local, nfs = HostName("h1"), Place(StorageName("local"), HostName("h1")), Place(StorageName("nfs"), None)
    with isolation.watch(SIMULATED, "one", frozenset({NFS}), vm=new_vm()) as visit:
        with at(host):
            pass
        assert visit.failed_at == ""
        with pytest.raises(RuntimeError), at(host), in_other_words(), at(local):
            raise OSError
        assert visit.failed_at == "storage local of host h1"
        with pytest.raises(KeyError), at(host):
            raise KeyError
        assert visit.failed_at == "host h1"
        with pytest.raises(TransientError), at(host, nfs):
            pass
        assert visit.failed_at == NFS
