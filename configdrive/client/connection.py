"""The connection to Redis: one server, a Unix socket, or the master behind a Sentinel; with time limits, and TLS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import AskError, ClusterCrossSlotError, ClusterDownError
from redis.retry import Retry

from configdrive.client.redis_url import Endpoint
from configdrive.client.settings import ClientSettings
from configdrive.errors import PermanentCode, PermanentError

_SENTINEL_SECONDS = 1.0
"""A Sentinel that does not answer for so long is passed over: the others know as much."""


IS_A_CLUSTER = "is a cluster, which no Celery broker can be"
NO_CLUSTER = "use a single Redis, with Sentinel if wanted"


def connect_redis(settings: ClientSettings, *, patient: bool = True) -> redis.Redis:
    """Return a client with time limits; it connects when it is first used.

    `patient` is for processes that go on without a person: they sit a restart of Redis out. Otherwise a Redis that is
    away is reported within a second, one that hangs within five.

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


@contextmanager
def refusing_clusters() -> Iterator[None]:
    """Say what is wrong when what is asked for meanwhile meets a node of a Redis Cluster.

    Raises:
        PermanentError: `MISCONFIGURED`.
    """
    met = False
    try:
        yield
    except (AskError, ClusterCrossSlotError, ClusterDownError):  # a MovedError is an AskError
        met = True
    if met:
        raise PermanentError(PermanentCode.MISCONFIGURED, f"redis_url: {IS_A_CLUSTER}", NO_CLUSTER)


def _behind_sentinel(settings: ClientSettings, endpoint: Endpoint, options: dict[str, Any]) -> redis.Redis:
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


def endpoint_of(settings: ClientSettings) -> Endpoint:
    """Return where the fleet's Redis is. The settings have refused a URL of another form."""
    endpoint = Endpoint.read(settings.redis_url.get_secret_value())
    assert endpoint is not None  # noqa: S101 - see above
    return endpoint


def tls_options(settings: ClientSettings) -> dict[str, Any]:
    """Return what redis-py needs for TLS: the server's certificate and name are always checked."""
    files = {
        "ssl_ca_certs": settings.redis_ca,
        "ssl_certfile": settings.redis_certificate,
        "ssl_keyfile": settings.redis_certificate_key,
    }
    named = {name: str(path) for name, path in files.items() if path is not None}
    return {"ssl_cert_reqs": "required", "ssl_check_hostname": True, **named}


def sentinel_options(settings: ClientSettings, endpoint: Endpoint, seconds: float) -> dict[str, Any]:
    """Return how the Sentinels themselves are asked. One that does not answer within `seconds` is passed over."""
    password = settings.sentinel_password
    return {
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "password": None if password is None else password.get_secret_value(),
        **({"ssl": True, **tls_options(settings)} if endpoint.tls else {}),
    }
