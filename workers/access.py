"""From settings to what every process of the fleet has: the mailboxes, the boxes, and the door for publishers.

Apart from `workers.worker` so that a process that only publishes or looks loads no part of a worker: of the half second
that `configdrive publish` may take, imports are the most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry

from configdrive.errors import PermanentCode, PermanentError
from workers.config.hypervisors import known_hypervisors
from workers.config.redis_url import endpoint_of, sentinel_options, tls_options
from workers.config.settings import Settings
from workers.store.mailbox import RedisMailbox, StoreOptions

if TYPE_CHECKING:
    from celery import Celery

    from configdrive.ports import Sealer
    from tasks.intake import Ingester
    from tasks.publish import LifecyclePublisher
    from tasks.wakeup import WakeUps
    from workers.config.redis_url import Endpoint
    from workers.store.scripts import FunctionLibrary

_SENTINEL_SECONDS = 1.0
"""A Sentinel that does not answer for so long is passed over: the others know as much."""


def connect_redis(settings: Settings, *, patient: bool = True) -> redis.Redis:
    """Return a client with time limits; it connects when it is first used.

    `patient` is for processes that go on without a person: they sit a restart of Redis out. Otherwise a Redis that is
    away is told within a second, one that hangs within five.

    Raises:
        PermanentError: `MISCONFIGURED`, when the URL cannot be read.
    """
    endpoint = endpoint_of(settings)
    passing = (redis.ConnectionError, redis.TimeoutError) if patient else (redis.ConnectionError,)
    options: dict[str, Any] = {
        "socket_timeout": 10 if patient else 5,
        "socket_connect_timeout": 5 if patient else 2,
        "socket_keepalive": True,
        "health_check_interval": 15,
        "retry": Retry(ExponentialBackoff(cap=1.0, base=0.05), 12 if patient else 2, supported_errors=passing),
        "retry_on_error": list(passing),
    }
    if endpoint.tls:
        options |= tls_options(settings)
    if endpoint.nodes:
        return _behind_sentinel(settings, endpoint, options)
    try:
        return redis.Redis.from_url(endpoint.url, **options)
    except ValueError:
        pass  # raised below, outside of this handler: its text may quote a part of the URL
    detail = "redis_url: has a parameter behind '?' that redis-py cannot read"
    remedy = "leave the parameters out: redis://user:password@host:port/0"
    raise PermanentError(PermanentCode.MISCONFIGURED, detail, remedy)


def _behind_sentinel(settings: Settings, endpoint: Endpoint, options: dict[str, Any]) -> redis.Redis:
    """Return a client of whoever is the master; each new connection asks the Sentinels who that is."""
    from redis.sentinel import Sentinel  # noqa: PLC0415 - few fleets have one

    login = {"username": endpoint.user, "password": endpoint.password, "db": endpoint.database}
    asked = {**sentinel_options(settings, endpoint, _SENTINEL_SECONDS), "retry": Retry(NoBackoff(), 0)}
    # redis-py types neither.
    manager = Sentinel(  # type: ignore[no-untyped-call]
        endpoint.nodes, sentinel_kwargs=asked, **login, **options, **({"ssl": True} if endpoint.tls else {})
    )
    client: redis.Redis = manager.master_for(endpoint.master)  # type: ignore[no-untyped-call]
    return client


def store_options(settings: Settings) -> StoreOptions:
    """Return what the mailboxes need of the settings."""
    return StoreOptions(
        prefix=settings.key_prefix,
        lease=settings.lease_seconds,
        resend=settings.resend_seconds,
        seen=settings.seen_seconds,
        tombstone=settings.tombstone_seconds,
        outcomes_kept=settings.outcomes_kept,
        replicas=settings.replicas,
        replica_seconds=settings.replica_seconds,
    )


def make_mailbox(settings: Settings, client: redis.Redis | None = None) -> RedisMailbox:
    """Return the mailboxes of this fleet."""
    return RedisMailbox(client or connect_redis(settings), store_options(settings))


def make_sealer(settings: Settings) -> Sealer:
    """Return what seals (with only a public key), or seals and opens (with the key file, made on the first run).

    Raises:
        PermanentError: `MISCONFIGURED`.
    """
    # Imported here: looking at VMs and waking workers needs no cryptography.
    from workers.config.key_ring import KeyRing, PublicSealer  # noqa: PLC0415
    from workers.config.keys import read_keys, read_or_make_keys, read_public  # noqa: PLC0415

    if settings.public_key is not None:
        return PublicSealer(read_public(settings.public_key))
    read_or_make_keys(settings.keys_file)
    return KeyRing(lambda: read_keys(settings.keys_file))


def make_wakeups(settings: Settings, app: Celery | None = None) -> WakeUps:
    """Return what sends wake-ups."""
    # Imported here: looking at VMs needs no Celery.
    from tasks.wakeup import WakeUps  # noqa: PLC0415
    from workers.queueing.app import make_app  # noqa: PLC0415

    return WakeUps(app or make_app(settings))


def make_publisher(
    settings: Settings,
    app: Celery | None = None,
    mailbox: RedisMailbox | None = None,
    sealer: Sealer | None = None,
) -> LifecyclePublisher:
    """Return the producers' door; `sealer` is the settings' own unless another is given.

    Raises:
        PermanentError: `MISCONFIGURED`.
    """
    from tasks.publish import LifecyclePublisher  # noqa: PLC0415 - as in make_wakeups

    return LifecyclePublisher(
        mailbox or make_mailbox(settings),
        make_wakeups(settings, app),
        sealer or make_sealer(settings),
        hypervisors=known_hypervisors(settings),
        zones=settings.zones,
    )


def make_ingester(settings: Settings) -> Ingester | None:
    """Return what takes from the intake, with connections of its own; `None` when the settings turn it off.

    Raises:
        PermanentError: `MISCONFIGURED`.
    """
    if settings.intake == "off":
        return None
    # Imported here, as in make_wakeups.
    from tasks.intake import Ingester, Unsealed  # noqa: PLC0415
    from workers.observability.logs import SystemClock  # noqa: PLC0415
    from workers.queueing.app import make_app  # noqa: PLC0415
    from workers.store.intake import RedisIntake  # noqa: PLC0415

    client, app = connect_redis(settings), make_app(settings)
    sealer = Unsealed() if settings.intake == "sealed" else make_sealer(settings)
    publisher = make_publisher(settings, app, make_mailbox(settings, client), sealer)
    return Ingester(
        RedisIntake(client, store_options(settings)),
        publisher.posting,
        make_wakeups(settings, app).send_many,
        SystemClock(),
        pause=settings.intake_seconds,
    )


def function_library(settings: Settings) -> FunctionLibrary:
    """Return PUT as a function of Redis, for this fleet."""
    from workers.store.scripts import FunctionLibrary  # noqa: PLC0415 - only `functions` asks for it

    return FunctionLibrary(
        settings.key_prefix,
        round(settings.resend_seconds * 1000),
        tuple(known_hypervisors(settings)),
        settings.zones,
    )
