"""Keeping leases alive from one side thread, and saying whether one still holds before each step (docs/adr/0014)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from celery.exceptions import SoftTimeLimitExceeded

from configdrive.errors import StaleCode, StaleError
from configdrive.model import Intent
from configdrive.places import watched_by
from tasks.isolation import InLine, Places
from tasks.mailbox import Leases, Right

_log = logging.getLogger(__name__)

_FRESH, _FRESH_SECONDS = 1 / 100, 0.25
"""What was confirmed so short a time ago is not asked for again: a hundredth of the lease, and never more than this."""

_LOOK = 1 / 6
"""Of a lease's length: how often the side thread looks, and how old a confirmation is then renewed. So each lease is
renewed at the latest after a third of its length."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Return seconds on a clock that nobody sets, and that goes on while this process, or the machine, sleeps."""
    return time.clock_gettime(_CLOCK)


class KeptLease:
    """A lease that is being kept (`configdrive.ports.Lease`)."""

    def __init__(self, keeper: LeaseKeeper, right: Right, asked: float) -> None:
        self._keeper = keeper
        self._right = right
        self._asked = asked
        self.intended: tuple[Intent, ...] = ()
        self._last = keeper.now() + keeper.longest

    @property
    def vm(self) -> str:
        """The VM, for messages."""
        return self._right.vm_uuid

    def intend(self, intents: Collection[Intent]) -> None:
        """Write down what is about to be tried; see `configdrive.ports.Lease`."""
        self._require_time()
        self._require(lambda: self._confirm(lambda: self._keeper.mailbox.intend(self._right, intents)))
        self.intended = (*self.intended, *intents)

    def check(self) -> None:
        """Return when the lease still holds.

        Raises:
            StaleError: `LEASE_LOST`, when another worker has taken the VM over, or may have: the store does not answer,
                or the attempt has taken too long. The event is tried again once the lease has run out.
        """
        self._require_time()
        if self.age() > min(self._keeper.seconds * _FRESH, _FRESH_SECONDS):
            self._require(self.renew)

    def renew(self) -> bool:
        """Ask for the lease again; false when it is another's by now."""
        return self._confirm(lambda: self._keeper.mailbox.renew(self._right))

    def _confirm(self, ask: Callable[[], bool]) -> bool:
        asked = self._keeper.now()  # before the question: the store's answer is younger than that in any case
        held = ask()
        if held:
            self._asked = asked
        return held

    def _require_time(self) -> None:
        if self.is_over():
            raise StaleError(StaleCode.LEASE_LOST, f"the attempt for VM {self.vm} took longer than an attempt may")

    def _require(self, ask: Callable[[], bool]) -> None:
        try:
            held = ask()
        except SoftTimeLimitExceeded:
            raise
        except Exception as error:  # noqa: BLE001 - nothing is known, so nothing may be changed
            _log.warning("lease of VM %s not checked: %s", self.vm, type(error).__name__)
            held = False
        if not held:
            raise StaleError(StaleCode.LEASE_LOST, f"another worker has taken over VM {self.vm}, or may have")

    def age(self) -> float:
        """Return how many seconds ago the store was asked for what it has confirmed since."""
        return self._keeper.now() - self._asked

    def is_over(self) -> bool:
        """Say whether the attempt has taken longer than one may."""
        return self._keeper.now() > self._last


class LeaseKeeper:
    """Renews all leases of one process until they are given back, from one thread that is there while there are any.

    Args:
        mailbox: where they are taken.
        seconds: a lease's length.
        longest: seconds after which one is kept no longer: a pool that cannot enforce a time limit (threads, solo) must
            not hold up a VM for ever when a call never returns.
        clock: see `now`.
        places: where whoever has a lease, or surveys hosts, waits in line for what goes one at a time; `None`: nobody
            waits.
    """

    def __init__(
        self,
        mailbox: Leases,
        *,
        seconds: float,
        longest: float,
        clock: Callable[[], float] = now,
        places: Places | None = None,
    ) -> None:
        self.mailbox = mailbox
        self._places = places
        self.seconds = seconds
        self.longest = longest
        self.now = clock
        self._kept: set[KeptLease] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def keep(self, right: Right, asked: float) -> Iterator[KeptLease]:
        """Keep a lease alive within the block; giving it back is the business of `done` and `release`.

        Args:
            right: the claim or hold.
            asked: `now()` before it was asked for.
        """
        lease = KeptLease(self, right, asked)
        try:
            with self._lock:
                self._kept.add(lease)
                if self._thread is None:
                    thread = threading.Thread(target=self._keep, name="leases", daemon=True)
                    thread.start()
                    self._thread = thread
            with self.in_line(right.vm_uuid):
                yield lease
        finally:
            self._drop(lease)

    @contextmanager
    def in_line(self, name: str) -> Iterator[None]:
        """Have this thread wait in line, within the block, for what goes one at a time; for who needs no lease, too."""
        if self._places is None:
            yield
            return
        line = InLine(self._places, name)
        try:
            with watched_by(line):
                yield
        finally:
            line.end()

    def look(self) -> None:
        """Renew what was not confirmed for a while; what is lost, or has taken too long, is kept no longer."""
        with self._lock:
            kept = list(self._kept)
        for lease in kept:
            if lease.is_over():
                self._drop(lease)
            elif lease.age() >= self.seconds * _LOOK:
                try:
                    if not lease.renew():
                        self._drop(lease)
                except Exception as error:  # noqa: BLE001 - whatever it was, the next look may do; `check` decides
                    _log.warning("lease of VM %s not renewed: %s", lease.vm, type(error).__name__)

    def _drop(self, lease: KeptLease) -> None:
        with self._lock:
            self._kept.discard(lease)

    def _keep(self) -> None:
        while True:
            time.sleep(self.seconds * _LOOK)
            self.look()
            with self._lock:
                if not self._kept:
                    self._thread = None
                    return
