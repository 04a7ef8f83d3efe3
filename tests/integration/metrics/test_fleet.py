"""The fleet's numbers, counted on a real Redis."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from configdrive.model import HypervisorName
from rigs.redis import RedisServer
from tasks.mailbox import SweepCounts
from tests.mailboxes import QUEUE, Store, finish, new_vm, posting
from tests.support import require_rig
from workers.observability.metrics_fleet import FleetCollector
from workers.store.encoding import posted_at
from workers.store.inspection import Inspection, QueueNumbers

ZONE = f"{QUEUE}.berlin-1"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with require_rig():
        server = RedisServer(tmp_path_factory.mktemp("redis"))
    with server, server.client() as client:
        yield Store(client)


def test_everything_is_counted_by_queue(store: Store) -> None:
    client, prefix = store.client, store.prefix
    inspection = Inspection(client, store.mailbox._options)
    first = posting(new_vm())
    store.mailbox.put_many([first, posting(first.header.vm_uuid), posting(new_vm()), posting(new_vm(), queue=ZONE)])
    client.zadd(f"{prefix}left:{QUEUE}", {f"{new_vm()} {host}": 1 for host in ("h1", "h1", "h2")})
    store.mailbox.note_doubt(QUEUE, first.header.vm_uuid)
    client.zadd(f"{prefix}parked", {new_vm(): (time.time() - 60) * 1000, new_vm(): (time.time() - 90) * 1000})
    client.zadd(f"{prefix}orphans", {"i-2-3-VM.x.1.iso": 1})
    client.rpush(f"{prefix}dead", "one", "two", "three")
    client.rpush(f"{prefix}intake", "four")
    client.rpush(f"{prefix}intake:taken", "two", "three")
    client.set(f"{prefix}intake:number", 7)
    time.sleep(0.05)
    seen = inspection.numbers(["configdrive.kvm"])

    assert [(one.name, one.messages, one.pending, one.leftover_hosts, one.leftover_vms) for one in seen.queues] == [
        ("configdrive.kvm", 0, 0, 0, 0),
        (QUEUE, 2, 2, 2, 3),
        (ZONE, 1, 1, 0, 0),
    ]
    assert (seen.parked, seen.dead_letters, seen.orphans, seen.intake, seen.settled) == (2, 3, 1, 3, 7)
    assert seen.oldest_parked == pytest.approx(90, abs=25)
    idle, *waiting = (one.oldest for one in seen.queues)
    assert idle == 0
    assert all(0.05 <= age < 300 for age in waiting)


def test_an_age_counts_from_the_publishing_whoever_asks_first_and_goes_over_to_the_next_event(store: Store) -> None:
    vm, queue = new_vm(), f"{QUEUE}.aged"
    old, young = posting(vm, queue=queue), posting(vm, queue=queue)

    def oldest() -> float:
        fresh = Inspection(store.client, store.mailbox._options)
        return {one.name: one.oldest for one in fresh.numbers([]).queues}[queue]

    for index, (item, ago) in enumerate(((old, 1000), (young, 500))):
        store.mailbox.put(item)
        header: Any = store.client.lindex(store.key("mail", vm), index)
        at = round((store.now() - ago) * 1000)
        store.client.lset(store.key("mail", vm), index, json.dumps(json.loads(header) | {"at": at}))
    assert 1000 <= oldest() < 1500
    claim = store.claim(old.header)
    assert 1000 <= oldest() < 1500, "also while it is worked on"
    store.mailbox.done(claim, finish(claim))
    assert 500 <= oldest() < 1000
    store.client.delete(*(f"{store.prefix}{key}{queue}" for key in ("wakeups:", "queue:", "")))
    store.client.srem(f"{store.prefix}queues", queue)


@pytest.mark.parametrize(
    "spoiled", [None, b"", b"no json", b"[1]", b'{"id":"x"}', b'{"at":"soon"}', b'{"at":1' + b"0" * 400 + b"}"]
)
def test_what_is_no_header_has_no_age(spoiled: bytes | None) -> None:
    assert posted_at(spoiled) is None


def test_the_answer_has_the_numbers_of_each_queue(store: Store) -> None:
    families = {
        family.name: family for family in FleetCollector(Inspection(store.client, store.mailbox._options), []).collect()
    }
    assert families["configdrive_redis_up"].samples[0].value == 1
    for field, name in {
        "messages": "queue_messages",
        "pending": "pending_vms",
        "leftover_hosts": "leftover_hosts",
        "leftover_vms": "leftover_vms",
        "unverified": "unverified_vms",
    }.items():
        found = {sample.labels["queue"]: sample.value for sample in families[f"configdrive_{name}"].samples}
        expected = {QUEUE: getattr(COUNTED, field), ZONE: int(field in {"pending", "messages"})}
        assert found == expected, name


COUNTED = QueueNumbers(QUEUE, messages=2, pending=2, oldest=0, leftover_hosts=2, leftover_vms=3, unverified=1)


def test_what_sweeps_found_is_kept_for_every_hypervisor_and_added_up(store: Store) -> None:
    kvm = HypervisorName("kvm")
    found = SweepCounts({"current": 1, "old": 2}, 2, 1, {"old": 2}, {"access_denied": 1})
    store.mailbox.note_sweep(kvm, found)
    store.mailbox.note_sweep(kvm, SweepCounts({"current": 1}, 0, 1, {"old": 1}))
    store.client.hset(f"{store.prefix}swept", "spoiled", "no JSON")
    families = FleetCollector(Inspection(store.client, store.mailbox._options), []).collect()
    samples = {(sample.name, *sample.labels.values()): sample.value for one in families for sample in one.samples}

    def value(name: str, *labels: str) -> float:
        return samples[f"configdrive_storage_sweep_{name}", "kvm", *labels]

    assert value("rounds_total") == 2
    assert (value("images", "current"), value("images", "old")) == (1, 0)
    assert (value("deleted_total", "old"), value("deleted_total", "stopped")) == (3, 0)
    assert (value("failed_total", "access_denied"), value("failed_total", "storage_full")) == (1, 0)
    assert value("hosts_away") == 0
    assert abs(value("last_round_timestamp_seconds") - time.time()) < 60
    assert not any("spoiled" in labels for _, *labels in samples)


def test_a_sweep_is_due_to_one_who_asks_once_its_time_has_passed(store: Store) -> None:
    kvm, other = HypervisorName("kvm-1"), HypervisorName("vmware-1")

    def long_ago() -> None:
        store.client.hset(f"{store.prefix}swept", kvm, '{"at": 1}')

    assert not store.mailbox.sweep_is_due(kvm, 0), "the first question begins the time"
    assert not store.mailbox.sweep_is_due(kvm, 3600)
    long_ago()
    assert [store.mailbox.sweep_is_due(kvm, 3600) for _ in range(2)] == [True, False]
    assert not store.mailbox.sweep_is_due(other, 0)
    long_ago()
    store.mailbox.note_sweep(kvm, SweepCounts(rounds=1))
    assert not store.mailbox.sweep_is_due(kvm, 3600), "somebody else has swept"
    store.client.hset(f"{store.prefix}swept", kvm, '{"at": 9999999999}')
    assert [store.mailbox.sweep_is_due(kvm, 3600) for _ in range(2)] == [True, False], "the clock was set back"


def test_keys_that_a_stranger_has_spoiled_count_as_no_answer(store: Store) -> None:
    store.client.set(f"{store.prefix}dead", "no list")
    families = list(FleetCollector(Inspection(store.client, store.mailbox._options), []).collect())
    assert [(family.name, family.samples[0].value) for family in families] == [("configdrive_redis_up", 0)]
