"""Counting connections: what is open, and what had to be opened in the place of a lost one."""

import os

import pytest

from configdrive.errors import TransientCode, TransientError
from configdrive.ports import Connections
from workers.driverkit.connections import Limit, Tally


def counts(tally: Tally) -> tuple[int, int]:
    return tally.now.open, tally.now.reopened


def test_what_is_opened_and_closed_in_order_was_never_opened_again() -> None:
    tally = Tally("kvm-01", "libvirt")
    assert tally.now == Connections("kvm-01", "libvirt", open=0, reopened=0)
    for _ in range(3):
        tally.opened()
    tally.closed()
    tally.opened()
    assert counts(tally) == (3, 0)


def test_as_many_are_opened_again_as_were_lost() -> None:
    tally = Tally("kvm-01", "libvirt")
    for _ in range(2):
        tally.opened()
    for _ in range(2):
        tally.lost()
    assert counts(tally) == (0, 0), "the host may be away: nothing is opened yet"
    for _ in range(3):
        tally.opened()
    assert counts(tally) == (3, 2)


def test_a_forked_child_begins_with_none_and_counts_for_itself() -> None:
    tally = Tally("kvm-01", "libvirt")
    tally.opened()
    tally.lost()
    child = os.fork()
    if child == 0:
        before = counts(tally)
        tally.opened()
        os._exit(0 if (before, counts(tally)) == ((0, 0), (1, 0)) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert counts(tally) == (0, 0)


def test_who_finds_all_connections_in_use_has_asked_nobody() -> None:
    limit = Limit(2, "host kvm-01: all 2 connections", "connections")
    with limit.one(0.01), limit.one(0.01), pytest.raises(TransientError) as failure, limit.one(0.01):
        pass
    assert failure.value.code is TransientCode.SATURATED
    assert "kvm-01" in failure.value.detail
    with limit.one(0.01), limit.one(0.01):
        pass
