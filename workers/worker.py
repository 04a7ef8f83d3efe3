"""From settings to a worker's parts: with `workers.access` the only place that constructs and puts together."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from celery import Celery, signals
from celery.exceptions import SoftTimeLimitExceeded

from configdrive.lifecycle.reconcile import LEAVE_AFTER, Reconciler
from configdrive.model import HypervisorName
from configdrive.ports import Drivers
from tasks import celery_tasks, leftovers
from tasks.attempt import Turns
from tasks.lease import LeaseKeeper
from tasks.leftovers import Leftovers
from tasks.mailbox import Mailbox, Wake
from tasks.policy import Limits
from tasks.storage_sweep import Storekeeper
from tasks.sweep import sweep_once
from tasks.wakeup import WakeUps
from workers.access import (
    connect_redis,
    make_ingester,
    make_mailbox,
    make_sealer,
    store_options,
)
from workers.config.hypervisors import known_hypervisors, queues
from workers.config.inventory import read_inventory
from workers.config.settings import Settings
from workers.driverkit.load import make_driver
from workers.observability.logs import LoggingWatcher, SystemClock
from workers.observability.observers import WatchedMailbox, WatchedTurns, Watcher, Watchers
from workers.observability.optional import count_connections, open_tracing, open_worker_metrics
from workers.queueing import bootsteps
from workers.queueing.app import GRACE_SECONDS, make_app

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hands:
    """What does the tasks' work in one process."""

    turns: Turns
    leftovers: Leftovers
    drivers: Drivers

    def close(self) -> None:
        """Give back what hypervisors count: sessions and connections."""
        for name, driver in self.drivers.items():
            try:
                driver.close()
            except Exception as error:  # noqa: BLE001 - the process ends anyway, and the others' have their turn
                _log.warning("connections to %s were not closed: %s", name, type(error).__name__)


def make_leases(settings: Settings, mailbox: Mailbox) -> LeaseKeeper:
    """Return what keeps the leases of a process alive."""
    longest = settings.task_seconds + GRACE_SECONDS
    return LeaseKeeper(mailbox, seconds=settings.lease_seconds, longest=longest)


def make_hands(
    settings: Settings, app: Celery, hypervisors: Collection[HypervisorName], watchers: Sequence[Watcher] = ()
) -> Hands:
    """Return what works in a worker's process, with drivers of its own; `watchers` are told beside the log.

    Raises:
        PermanentError: `MISCONFIGURED` or `UNKNOWN_HYPERVISOR`.
    """
    inventory = read_inventory(settings.inventory)
    drivers = {name: make_driver(settings, name, inventory) for name in hypervisors}
    clock, wake = SystemClock(), WakeUps(app).send
    watcher = Watchers([LoggingWatcher(), *watchers, *open_tracing(settings)])
    mailbox = WatchedMailbox(connect_redis(settings), store_options(settings), watcher)
    leases = make_leases(settings, mailbox)
    turns = WatchedTurns(
        mailbox=mailbox,
        reconciler=Reconciler(
            drivers,
            make_sealer(settings),
            clock,
            watcher,
            label=settings.label,
            leave_after=min(LEAVE_AFTER, settings.attempts),
        ),
        clock=clock,
        limits=Limits(
            attempts=settings.attempts,
            unclassified_attempts=settings.unclassified_attempts,
            backoff=settings.backoff_seconds,
            backoff_most=settings.backoff_most_seconds,
        ),
        leases=leases,
        timeouts=(SoftTimeLimitExceeded,),
        wake=wake,
    )
    return Hands(
        turns,
        Leftovers(
            mailbox,
            drivers,
            leases=leases,
            wake=wake,
            pause=settings.leftover_seconds,
        ),
        drivers,
    )


def make_worker_app(settings: Settings, hypervisor: HypervisorName, served: Sequence[str] = ()) -> Celery:
    """Return the app of a worker for one hypervisor: the task, the sweeper, the sign of life.

    `served` are the queues it takes from; left out, all of the hypervisor's.

    Raises:
        PermanentError: `MISCONFIGURED` or `UNKNOWN_HYPERVISOR`, now rather than at the first event.
    """
    inventory = read_inventory(settings.inventory)
    driver = make_driver(settings, hypervisor, inventory)
    driver.close()
    served = served or queues(settings, hypervisor)
    # What runs in the main process must not hold up its loop: the next pass of the sweeper tries again.
    mailbox = make_mailbox(settings, connect_redis(settings, patient=False))
    app = make_app(settings, served, bury=mailbox.bury)
    metrics = open_worker_metrics(settings, hypervisor, served)
    watchers = [] if metrics is None else [metrics.watcher]
    hands = PerProcess(lambda: make_hands(settings, app, [hypervisor], watchers))
    if metrics is not None:
        metrics.watcher.connected(hypervisor, driver.connections())  # none: but the endpoints are known from now on
        count_connections(metrics, hands.drivers)
    # A child's end (prefork), or the worker's own (threads, solo).
    for ended in (signals.worker_process_shutdown, signals.worker_shutdown):
        ended.connect(lambda **_named: hands.close(), weak=False)
    celery_tasks.register(app, lambda: hands().turns, mailbox.bury)
    leftovers.register(app, lambda: hands().leftovers, mailbox.bury)
    wakeups = WakeUps(app)
    ingester = make_ingester(settings)
    bootsteps.install(
        app,
        sweep=lambda: sweep_once(mailbox, wakeups, served, pause=settings.leftover_seconds),
        wakeup_seconds=settings.wakeup_seconds,
        health_file=settings.health_file,
        ingest=None if ingester is None else ingester.run,
        serve_metrics=None if metrics is None else metrics.start,
    )
    return app


@dataclass(frozen=True, slots=True)
class Storeroom:
    """What goes through the storages of one hypervisor, and what collects from hosts that were away."""

    keeper: Storekeeper
    leftovers: Leftovers


def make_storerooms(settings: Settings, mailbox: Mailbox, wake: Callable[[Wake], None]) -> list[Storeroom]:
    """Return one for each hypervisor of the inventory that is known here; they share a process's connections.

    Raises:
        PermanentError: `MISCONFIGURED` or `UNKNOWN_HYPERVISOR`.
    """
    inventory = read_inventory(settings.inventory)
    leases = make_leases(settings, mailbox)
    rooms = []
    for name in sorted(set(inventory) & set(known_hypervisors(settings))):
        driver = make_driver(settings, name, inventory)
        keeper = Storekeeper(
            mailbox=mailbox,
            driver=driver,
            clock=SystemClock(),
            leases=leases,
            grace=settings.orphan_seconds,
            wake=wake,
        )
        leftovers_ = Leftovers(mailbox, {name: driver}, leases=leases, wake=wake)
        rooms.append(Storeroom(keeper, leftovers_))
    return rooms


class PerProcess:
    """Makes the working parts when they are first asked for, once in each process: never before a fork."""

    def __init__(self, make: Callable[[], Hands]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: tuple[int, Hands] | None = None

    def __call__(self) -> Hands:
        """Return this process's own."""
        with self._lock:
            if self._made is None or self._made[0] != os.getpid():
                self._made = (os.getpid(), self._make())
            return self._made[1]

    def drivers(self) -> Drivers:
        """Return this process's own drivers; none when it has made none. Without the lock, as `close`."""
        made = self._made
        return made[1].drivers if made is not None and made[0] == os.getpid() else {}

    def close(self) -> None:
        """Close this process's own, if it has made any. Without the lock: its holder may have been interrupted."""
        made = self._made
        if made is not None and made[0] == os.getpid():
            made[1].close()
