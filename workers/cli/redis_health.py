"""What `configdrive doctor` asks of Redis, and of the workers behind it. The reasons stand in docs/adr."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis

from configdrive.errors import FleetError
from workers.access import connect_redis, store_options
from workers.cli.context import open_app
from workers.cli.errors import problem_of, redis_address
from workers.cli.examining import Finding, fail, ok, warn
from workers.store.inspection import Census

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workers.config.settings import Settings

OLDEST = (6, 2)
"""ZRANGE … BYSCORE, which the sweeper uses, is of Redis 6.2."""

_PROBE = "redis.call('SET', KEYS[1], '1', 'PX', 1000) return redis.call('TIME')[1]"
_ANSWER_SECONDS = 1.0


def examine_redis(settings: Settings) -> Iterator[Finding]:
    """Look at Redis: is it there, does it keep what it is given, can it run our scripts, does anybody work."""
    try:
        client = connect_redis(settings, patient=False)
    except FleetError as error:
        yield fail("redis", error.detail, error.remedy)
        return
    subject = f"redis {redis_address()}"
    try:
        info: dict[str, Any] = client.info()
        yield from _facts(subject, info)
        client.eval(_PROBE, 1, f"{settings.key_prefix}doctor")
        yield ok(subject, "runs scripts that write")
        yield from _work(settings, Census(client, store_options(settings)))
    except redis.RedisError as error:
        problem = problem_of(error)
        yield fail(subject, problem.message, problem.remedy)
    finally:
        client.close()


def _facts(subject: str, info: dict[str, Any]) -> Iterator[Finding]:
    version = str(info.get("redis_version", "0"))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers >= OLDEST:
        yield ok(subject, f"answers, version {version}")
    else:
        yield fail(subject, f"version {version} is too old", "6.2 or newer is needed")
    if info.get("role", "master") != "master":
        yield fail(subject, "is a replica: nothing can be written", "name the master in CONFIGDRIVE_REDIS_URL")
    if info.get("cluster_enabled"):
        yield fail(
            subject, "is a cluster, which no Celery broker can be", "use a single Redis, with Sentinel if wanted"
        )
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy == "noeviction":
        yield ok(subject, "maxmemory-policy noeviction")
    else:
        detail = f"maxmemory-policy {policy}: when memory is short Redis would throw events away"
        yield fail(subject, detail, "set 'maxmemory-policy noeviction' in redis.conf")
    if info.get("aof_enabled"):
        yield ok(subject, "appendonly yes")
    else:
        detail = "appendonly no: events that wait are lost when Redis restarts"
        yield warn(subject, detail, "set 'appendonly yes' in redis.conf")
    if info.get("aof_last_write_status", "ok") != "ok":
        yield fail(subject, "could not write its append-only file", "see Redis' log: is its disk full?")


def _work(settings: Settings, mailbox: Census) -> Iterator[Finding]:
    """Say who works, and whether events wait where nobody does."""
    served = _served(settings)
    for node, names in sorted(served.items()):
        yield ok(f"worker {node}", f"takes from {', '.join(sorted(names))}")
    taken = set().union(*served.values()) if served else set()
    for name, count in mailbox.pending().items():
        if count and name not in taken:
            hypervisor = name.split(".")[1] if name.count(".") else name
            detail = f"{count} VMs have events, and no worker that takes from it has answered"
            yield warn(f"queue {name}", detail, f"configdrive worker --hypervisor {hypervisor}")
    parked = len(mailbox.parked(1000))
    if parked:
        yield warn("parked", f"{parked} VMs wait for a person", "configdrive show")


def _served(settings: Settings) -> dict[str, set[str]]:
    """Ask all workers which queues they take from."""
    answers = open_app(settings).control.inspect(timeout=_ANSWER_SECONDS).active_queues() or {}
    return {node: {queue["name"] for queue in found} for node, found in answers.items()}
