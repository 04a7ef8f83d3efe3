"""A Sentinel's master dies in the middle of a stream: everybody goes on by themselves, nothing acknowledged is lost."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import redis

from configdrive.client.replication import NotReplicatedError
from configdrive.contract.outcome import Status
from rigs.sentinel import SentinelledRedis
from tests.e2e.site import QUICK, Site, new_vm
from tests.e2e.stream import Stream
from tests.support import require_rig, wait_until


@pytest.fixture(scope="module")
def redises(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelledRedis]:
    with require_rig():
        redises = SentinelledRedis(tmp_path_factory.mktemp("sentinel"))
    with redises:
        yield redises


def settings_for(redises: SentinelledRedis, **more: object) -> dict[str, object]:
    return {**QUICK, "unclassified_attempts": 20, "redis_url": redises.url, "replicas": 1, **more}


def test_what_no_replica_has_is_not_acknowledged(make_site: Callable[..., Site], redises: SentinelledRedis) -> None:
    settings = settings_for(redises, replica_seconds=1.5, key_prefix="unacknowledged:")
    site = make_site(workers=0, redis=redises.servers[0], settings=settings)
    event = new_vm().event("deploy")
    for replica in redises.servers[1:]:
        replica.pause()
    with pytest.raises(NotReplicatedError):
        site.publisher.publish(event)
    for replica in redises.servers[1:]:
        replica.resume()
    receipt = site.publisher.publish(event)  # which is what the error asks for
    assert (receipt.accepted, receipt.first) == (False, None)
    for replica in redises.servers[1:]:
        with replica.client() as client:
            assert client.llen(f"unacknowledged:mail:{event['data']['vm']['uuid']}") == 1


def test_failovers_in_the_middle_of_a_stream_lose_nothing(
    make_site: Callable[..., Site], redises: SentinelledRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    site = make_site(workers=2, redis=redises.servers[0], settings=settings_for(redises))
    site.start()
    pids = [worker.pid for worker in site.workers]
    stream = Stream(site, 8)
    stream.start()
    stream.wait_for(50)
    begun = time.monotonic()
    dead = redises.fail_over()
    agreed = time.monotonic() - begun
    assert site.outcome(new_vm().event("start"), timeout=60).status is Status.APPLIED
    done = time.monotonic() - begun
    stream.wait_for(50)
    stream.end()
    dead.start()  # it comes back as a replica, and what it alone had is gone
    wait_until(lambda: has_followers(redises, 2), "the old master to follow", timeout=30)
    outcomes = site.require_all_done(stream.published)
    assert [worker.pid for worker in site.workers if worker.running] == pids  # they reconnected by themselves

    with capsys.disabled():
        sys.stdout.write(
            f"\n[measured] {agreed:.1f} s until another master, {done:.1f} s until an event was done; "
            f"{len(outcomes)} events, none lost\n"
        )


def has_followers(redises: SentinelledRedis, count: int) -> bool:
    with redises.master.client() as client, suppress(redis.ConnectionError):
        return int(client.info("replication")["connected_slaves"]) == count
    return False
