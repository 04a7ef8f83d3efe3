"""The parts of a worker, made from settings: the only place that constructs and puts together."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import redis
from celery import Celery, signals
from celery.exceptions import SoftTimeLimitExceeded

from configdrive.client.connection import connect_redis
from configdrive.client.hypervisors import known_hypervisors
from configdrive.errors import FleetError
from configdrive.lifecycle.reconcile import LEAVE_AFTER, Reconciler
from configdrive.lifecycle.verify import Verifier
from configdrive.model import HypervisorName
from configdrive.ports import Drivers, DropsMedia
from tasks import celery_tasks, leftovers
from tasks.attempt import Attempts
from tasks.isolation import DOUBT_SECONDS, Isolation
from tasks.lease import LeaseKeeper
from tasks.leftovers import Leftovers
from tasks.mailbox import Leases
from tasks.policy import Limits
from tasks.storage_sweep import StorageSweeper
from tasks.wakeup import wake_due
from workers.config.clock import SystemClock
from workers.config.hypervisors import queues
from workers.config.inventory import read_inventory
from workers.config.key_ring import make_namer, make_sealer
from workers.config.settings import Settings, load_settings
from workers.driverkit.load import make_driver
from workers.observability.logs import LoggingObserver
from workers.observability.observers import Observers, WorkObserver
from workers.observability.optional import count_connections, open_tracing, open_worker_metrics
from workers.queueing import bootsteps
from workers.queueing.app import GRACE_SECONDS, make_app
from workers.queueing.daily_sweep import DRIVES_COMMAND, DRIVES_SECONDS, DailySweep
from workers.queueing.interrupts import interrupter
from workers.queueing.remote_control import restrict_to_questions
from workers.queueing.shutdown import end_without_redis
from workers.store.fleet_id import FleetId, fleet_id
from workers.store.fleet_keys import WorkerKeys
from workers.store.intake import make_ingester
from workers.store.mailbox import MailboxOptions, RedisMailbox
from workers.store.places import RedisPlaces

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 60.0
"""How long a new fleet's first worker looks for images of an older one."""

_FLEET_ID_SECONDS = 1.0
"""How long a process names images with the fleet's id before it asks Redis again."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What does the tasks' work in one process."""

    attempts: Attempts
    leftovers: Leftovers
    drivers: Drivers

    def close(self) -> None:
        """Give back what hypervisors count: sessions and connections."""
        for name, driver in self.drivers.items():
            try:
                driver.close()
            except Exception as error:  # noqa: BLE001 - the process ends anyway, and the others are closed too
                _log.warning("connections to %s were not closed: %s", name, type(error).__name__)


def make_leases(settings: Settings, mailbox: Leases, client: redis.Redis) -> LeaseKeeper:
    """Return what keeps the leases of a process alive."""
    longest = settings.task_seconds + GRACE_SECONDS
    return LeaseKeeper(
        mailbox, seconds=settings.lease_seconds, longest=longest, places=RedisPlaces(client, settings.key_prefix, 0)
    )


def make_isolation(settings: Settings, client: redis.Redis) -> Isolation:
    """Return what isolates places that hang; made in the thread that works, where there is one only."""
    doubt = min(DOUBT_SECONDS, settings.call_seconds / 3)
    return Isolation(RedisPlaces(client, settings.key_prefix, doubt), doubt=doubt, interrupt=interrupter())


def make_runtime(
    settings: Settings, hypervisors: Collection[HypervisorName], observers: Sequence[WorkObserver] = ()
) -> Runtime:
    """Return what works in a worker's process, with drivers of its own; `observers` are notified beside the log.

    Raises:
        PermanentError: `MISCONFIGURED` or `UNKNOWN_HYPERVISOR`.
    """
    inventory = read_inventory(settings.inventory)
    drivers = {name: make_driver(settings, name, inventory) for name in hypervisors}
    clock = SystemClock()
    observer = Observers([LoggingObserver(), *observers, *open_tracing(settings)])
    client = connect_redis(settings)
    mailbox = RedisMailbox(client, MailboxOptions.of(settings))
    leases = make_leases(settings, mailbox, client)
    sealer = make_sealer(settings)
    namer = make_namer(settings, FleetId(client, settings.key_prefix, settings.fleet_id, kept=_FLEET_ID_SECONDS))
    attempts = Attempts(
        mailbox=mailbox,
        reconciler=Reconciler(
            drivers,
            sealer,
            namer,
            clock,
            observer,
            drives=settings.drives,
            leave_after=min(LEAVE_AFTER, settings.attempts),
        ),
        clock=clock,
        limits=Limits(
            attempts=settings.attempts,
            unclassified_attempts=settings.unclassified_attempts,
            backoff=settings.backoff_seconds,
            backoff_most=settings.backoff_most_seconds,
            give_up=settings.give_up_seconds,
        ),
        leases=leases,
        isolation=make_isolation(settings, client),
        timeouts=(SoftTimeLimitExceeded,),
        observer=observer,
    )
    verifier = Verifier(drivers, sealer, namer, observer, settings.drives)
    return Runtime(attempts, Leftovers(mailbox, drivers, leases=leases, verifier=verifier, observer=observer), drivers)


def requirements(settings: Settings, client: redis.Redis, hypervisor: HypervisorName) -> Callable[[], None]:
    """Return what a worker must find on Redis, asked for again and again: the fleet's id, and one of its own keys.

    It raises `PermanentError` (`MISCONFIGURED`) where that is not so.
    """
    fleet = FleetId(client, settings.key_prefix, settings.fleet_id)
    keys = WorkerKeys(client, settings.key_prefix, settings.keys_file, partial(find_image, hypervisor))

    def require() -> None:
        keys()
        fleet()  # behind it: who is no worker of this fleet gives it no id

    return require


def find_image(hypervisor: HypervisorName) -> str:
    """Find an image of whatever fleet on a host that answers soon, and say which; empty when there is none.

    In a process of its own: what a driver leaves in this one would be forked with the pool.
    """
    code = "import sys; from workers.worker import first_image; print(first_image(sys.argv[1]))"
    argv = [sys.executable, "-P", "-c", code, hypervisor]
    try:
        said = subprocess.run(argv, stdout=subprocess.PIPE, text=True, timeout=_LOOK_SECONDS, check=False).stdout  # noqa: S603
    except subprocess.TimeoutExpired:
        _log.warning("whether hosts have images of a fleet is not known: not all have answered")
        return ""
    return said.strip()


def first_image(hypervisor: str) -> str:
    """As `find_image`, in this process."""
    settings = load_settings()
    driver = make_driver(settings, HypervisorName(hypervisor), read_inventory(settings.inventory))
    try:
        for host in driver.hosts():
            with suppress(FleetError):
                for image in driver.survey(host).images[:1]:
                    return f"{image.name} on host {host}"
    finally:
        driver.close()
    return ""


def make_worker_app(settings: Settings, hypervisor: HypervisorName, served: Sequence[str] = ()) -> Celery:
    """Return the app of a worker for one hypervisor: the tasks, the look for wake-ups, the sign of life.

    `served` are the queues it takes from; left out, all of the hypervisor's.

    Raises:
        PermanentError: `MISCONFIGURED` or `UNKNOWN_HYPERVISOR`, now rather than at the first event.
    """
    inventory = read_inventory(settings.inventory)
    driver = make_driver(settings, hypervisor, inventory)
    driver.close()
    served = served or queues(settings, hypervisor)
    # What runs in the main process must not hold up its loop: the next look tries again.
    mailbox = RedisMailbox(connect_redis(settings, patient=False), MailboxOptions.of(settings))
    app = make_app(settings, served, dead_letters=mailbox)
    metrics = open_worker_metrics(settings, hypervisor, served)
    observers = [] if metrics is None else [metrics.watcher]
    runtime = PerProcess(lambda: make_runtime(settings, [hypervisor], observers))
    if metrics is not None:
        metrics.watcher.connected(hypervisor, driver.connections())  # none: but the endpoints are known from now on
        count_connections(metrics, runtime.drivers)
    # A child's end (prefork), or the worker's own (threads, solo).
    for ended in (signals.worker_process_shutdown, signals.worker_shutdown):
        ended.connect(lambda **_named: runtime.close(), weak=False)
    celery_tasks.register(app, lambda: runtime().attempts, mailbox)
    leftovers.register(app, lambda: runtime().leftovers, mailbox)
    restrict_to_questions()
    end_without_redis(partial(connect_redis, settings, patient=False), settings.lease_seconds)
    ingester, every = make_ingester(settings), settings.storage_sweep_seconds
    sweep = DailySweep(hypervisor, every, partial(mailbox.sweep_is_due, hypervisor, every))
    noted = None if metrics is None else partial(metrics.watcher.drives_dropped, hypervisor)
    drives = DailySweep(
        hypervisor,
        DRIVES_SECONDS,
        partial(mailbox.drives_are_due, hypervisor, DRIVES_SECONDS),
        DRIVES_COMMAND,
        *(() if noted is None else (noted,)),
    )
    bootsteps.install(
        app,
        wake_due=lambda: wake_due(mailbox, served, pause=settings.leftover_seconds),
        wakeup_seconds=settings.wakeup_seconds,
        served=served,
        health_file=settings.health_file,
        require=requirements(settings, mailbox.client, hypervisor),
        ingest=None if ingester is None else ingester.run,
        sweep_storage=sweep.run if every else None,
        fill_drives=drives.run if isinstance(driver, DropsMedia) else None,
        serve_metrics=None if metrics is None else metrics.start,
    )
    return app


def make_storage_sweepers(
    settings: Settings, mailbox: RedisMailbox, only: HypervisorName | None = None
) -> list[StorageSweeper]:
    """Return one for each hypervisor of the inventory that is known here, or for `only` this one.

    Raises:
        PermanentError: `MISCONFIGURED` or `UNKNOWN_HYPERVISOR`.
    """
    inventory = read_inventory(settings.inventory)
    client = connect_redis(settings)
    leases = make_leases(settings, mailbox, client)
    fleet = fleet_id(client, settings.key_prefix, settings.fleet_id)
    sweepers = []
    known = set(inventory) & set(known_hypervisors(settings))
    for name in sorted(known) if only is None else [only]:
        driver = make_driver(settings, name, inventory)
        sweepers.append(
            StorageSweeper(
                mailbox=mailbox,
                driver=driver,
                clock=SystemClock(),
                leases=leases,
                grace=settings.orphan_seconds,
                leftovers=Leftovers(mailbox, {name: driver}, leases=leases),
                fleet=fleet,
            )
        )
    return sweepers


class PerProcess:
    """Makes the working parts when they are first asked for, once in each process: never before a fork."""

    def __init__(self, make: Callable[[], Runtime]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: tuple[int, Runtime] | None = None

    def __call__(self) -> Runtime:
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
