"""From settings to working parts: the only place that constructs adapters and puts them together."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Mapping
from importlib.metadata import entry_points
from typing import Protocol, cast

import redis
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import HypervisorName
from configdrive.ports import HypervisorDriver, Sealer
from configdrive.reconcile import Reconciler
from tasks.lifecycle import register
from tasks.policy import Limits
from tasks.publish import LifecyclePublisher
from tasks.sweep import sweep_once
from tasks.turn import Turns
from tasks.wakeup import WakeUps
from workers import bootsteps
from workers.app import make_app, queues
from workers.inventory import Table, read_inventory
from workers.keys import read_keys, read_or_make_keys, read_public
from workers.sealing import KeyRing, PublicSealer
from workers.settings import Settings
from workers.store import RedisMailbox, StoreOptions
from workers.telemetry import LoggingObserver, SystemClock

ENTRY_POINTS = "configdrive.hypervisors"


class DriverFactory(Protocol):
    """What an entry point of the group `configdrive.hypervisors` names: usually the driver's class."""

    def from_inventory(
        self,
        section: Mapping[str, object],
        *,
        force_eject: bool,
        call_timeout: float,
    ) -> HypervisorDriver:
        """Make the driver from its table of the inventory.

        Raises:
            PermanentError: `MISCONFIGURED`; names the field and the remedy.
        """


def installed_hypervisors() -> list[HypervisorName]:
    """Return the names of all drivers that are installed, whether or not their SDK is."""
    return sorted(HypervisorName(point.name) for point in entry_points(group=ENTRY_POINTS))


def known_hypervisors(settings: Settings) -> list[HypervisorName]:
    """Return the hypervisors that events may name here."""
    return [HypervisorName(name) for name in settings.hypervisors] or installed_hypervisors()


def connect_redis(settings: Settings) -> redis.Redis:
    """Return a client with time limits and retries; it connects when it is first used."""
    return redis.Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_timeout=10,
        socket_connect_timeout=5,
        socket_keepalive=True,
        health_check_interval=15,
        retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), 5),
        retry_on_error=[redis.ConnectionError, redis.TimeoutError],
    )


def make_mailbox(settings: Settings, client: redis.Redis | None = None) -> RedisMailbox:
    """Return the mailboxes of this fleet."""
    options = StoreOptions(
        prefix=settings.key_prefix,
        lease=settings.lease_seconds,
        resend=settings.resend_seconds,
        seen=settings.seen_seconds,
        tombstone=settings.tombstone_seconds,
        outcomes_kept=settings.outcomes_kept,
    )
    return RedisMailbox(client or connect_redis(settings), options)


def make_sealer(settings: Settings) -> Sealer:
    """Return what seals (with only a public key), or seals and opens (with the key file, made on the first run).

    Raises:
        PermanentError: `MISCONFIGURED`.
    """
    if settings.public_key is not None:
        return PublicSealer(read_public(settings.public_key))
    read_or_make_keys(settings.keys_file)
    return KeyRing(lambda: read_keys(settings.keys_file))


def make_driver(settings: Settings, name: HypervisorName, inventory: Mapping[HypervisorName, Table]) -> HypervisorDriver:
    """Load one driver through its entry point and give it its table of the inventory.

    Raises:
        PermanentError: `UNKNOWN_HYPERVISOR` or `MISCONFIGURED`.
    """
    factory = _factory(name)
    section = inventory.get(name)
    if section is None:
        detail = f"the inventory {settings.inventory} has no table [{name}]"
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, f"add at least [{name}.hosts.<name>]")
    return factory.from_inventory(section, force_eject=settings.force_eject, call_timeout=settings.call_seconds)


def _factory(name: HypervisorName) -> DriverFactory:
    points = entry_points(group=ENTRY_POINTS, name=name)
    if not points:
        detail = f"no driver is called {name!r}"
        raise PermanentError(
            PermanentCode.UNKNOWN_HYPERVISOR,
            detail,
            f"installed are: {', '.join(installed_hypervisors())}",
        )
    try:
        return cast("DriverFactory", next(iter(points)).load())
    except ImportError as error:
        detail = f"the driver {name!r} needs the module {error.name!r}, which is not installed"
        remedy = f"pip install 'configdrive-fleet[{name}]'"
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, remedy) from None


def make_publisher(settings: Settings, app: Celery | None = None) -> LifecyclePublisher:
    """Return the producers' door.

    Raises:
        PermanentError: `MISCONFIGURED`.
    """
    return LifecyclePublisher(
        make_mailbox(settings),
        WakeUps(app or make_app(settings)),
        make_sealer(settings),
        hypervisors=known_hypervisors(settings),
        zones=settings.zones,
    )


def make_turns(settings: Settings, app: Celery, hypervisors: Collection[HypervisorName]) -> Turns:
    """Return what takes turns in a worker's process, with drivers of its own.

    Raises:
        PermanentError: `MISCONFIGURED` or `UNKNOWN_HYPERVISOR`.
    """
    inventory = read_inventory(settings.inventory)
    clock = SystemClock()
    reconciler = Reconciler(
        {name: make_driver(settings, name, inventory) for name in hypervisors},
        make_sealer(settings),
        clock,
        LoggingObserver(),
        label=settings.label,
    )
    return Turns(
        mailbox=make_mailbox(settings),
        reconciler=reconciler,
        clock=clock,
        limits=Limits(
            attempts=settings.attempts,
            unclassified_attempts=settings.unclassified_attempts,
            backoff=settings.backoff_seconds,
            backoff_most=settings.backoff_most_seconds,
        ),
        lease_seconds=settings.lease_seconds,
        timeouts=(SoftTimeLimitExceeded,),
        wake=WakeUps(app).send,
    )


def make_worker_app(settings: Settings, hypervisor: HypervisorName) -> Celery:
    """Return the app of a worker for one hypervisor: the task, the sweeper, the sign of life.

    Raises:
        PermanentError: `MISCONFIGURED` or `UNKNOWN_HYPERVISOR`, now rather than at the first event.
    """
    inventory = read_inventory(settings.inventory)
    make_driver(settings, hypervisor, inventory).close()
    served = queues(settings, hypervisor)
    app = make_app(settings, served)
    turns = PerProcess(lambda: make_turns(settings, app, [hypervisor]))
    mailbox = make_mailbox(settings)
    register(app, turns, mailbox.bury)
    wakeups = WakeUps(app)
    bootsteps.install(
        app,
        sweep=lambda: sweep_once(mailbox, wakeups, served),
        sweep_seconds=settings.sweep_seconds,
        health_file=settings.health_file,
    )
    return app


class PerProcess:
    """Makes the working parts when they are first asked for, once in each process: never before a fork."""

    def __init__(self, make: Callable[[], Turns]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: tuple[int, Turns] | None = None

    def __call__(self) -> Turns:
        """Return this process's own."""
        with self._lock:
            if self._made is None or self._made[0] != os.getpid():
                self._made = (os.getpid(), self._make())
            return self._made[1]
