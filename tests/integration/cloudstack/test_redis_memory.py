"""What the adapters of a fleet remember together, on a real Redis."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from configdrive.errors import TransientCode, TransientError
from configdrive.model import VmUuid
from rigs.redis import RedisServer
from tests.unit.workers.cloudstack.recorded import action, job, short, state
from workers.cloudstack.notices import Notice, read
from workers.cloudstack.ports import Power, Published
from workers.cloudstack.redis_memory import RedisMemory

PUBLISHED = Published(
    power=Power.ON, host="h1", at=5, state="Running", sequence=7, instance_name="i-2-3-VM", hypervisor="KVM"
)


def notice(body: bytes) -> Notice:
    found = read(body)
    assert found is not None
    return found


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis_server.client() as client:
        yield client


@pytest.fixture
def memory(client: redis.Redis, tmp_path: Path) -> RedisMemory:
    return RedisMemory(client, prefix=f"{tmp_path.name}:", seen_seconds=600, gone_seconds=1200, patience=0.2)


def test_what_a_newer_version_remembers_beside_it_is_passed_over(memory: RedisMemory, client: redis.Redis) -> None:
    vm = VmUuid("5f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d11")
    memory.write(vm, PUBLISHED, None)
    (key,) = client.keys(f"*published:{vm}")
    client.set(key, json.dumps({**json.loads(client.get(key) or ""), "newer": [1]}))
    assert memory.read(vm) == PUBLISHED


@pytest.mark.parametrize(
    ("body", "known"),
    [
        (state("Starting", "Running", 1), True),
        (action("VM.START", 1), True),
        (job("VM.START", "j"), True),
        (short("VM.UPDATE"), True),
        (short("VM.START"), False),
    ],
)
def test_a_notice_is_known_again_unless_a_look_is_as_good(
    memory: RedisMemory, client: redis.Redis, vm: str, body: bytes, *, known: bool
) -> None:
    with memory.lock(VmUuid(vm), notice(body)) as lock:
        lock.keep(PUBLISHED)

    assert memory.seen(notice(body)) is known
    lifetimes = [client.ttl(key) for key in client.scan_iter("*:cloudstack:seen:*") if client.ttl(key) != -1]
    assert len(lifetimes) == len(list(client.scan_iter("*:cloudstack:seen:*")))  # all of them end some day


def test_one_adapter_at_a_time_is_at_a_vm(memory: RedisMemory, vm: str) -> None:
    said = notice(short("VM.START"))
    with memory.lock(VmUuid(vm), said) as lock:
        lock.check()
        with pytest.raises(TransientError) as caught, memory.lock(VmUuid(vm), said):
            pass
    assert caught.value.code is TransientCode.VM_BUSY

    with memory.lock(VmUuid(vm), said):
        pass


def test_who_took_too_long_tells_nothing(memory: RedisMemory, client: redis.Redis, vm: str) -> None:
    with memory.lock(VmUuid(vm), notice(short("VM.START"))) as lock:
        client.delete(*client.scan_iter(f"*:lock:{vm}"))
        with pytest.raises(TransientError):
            lock.check()


def test_sequences_grow_also_when_many_ask_and_all_is_forgotten(
    memory: RedisMemory, client: redis.Redis, vm: str
) -> None:
    patient = RedisMemory(client, prefix=f"{vm}:", seen_seconds=60, gone_seconds=60, patience=30)
    given: list[int] = []

    def tell() -> None:
        for _ in range(10):
            with patient.lock(VmUuid(vm), notice(short("VM.START"))) as lock:
                sequence = lock.next_sequence(lock.published)
                lock.keep(replace(lock.published, sequence=sequence))
                given.append(sequence)

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert given == sorted(set(given))

    client.delete(*client.scan_iter(f"{vm}:*"))
    time.sleep(0.1)  # so many at once run ahead of the clock by a millisecond each
    with patient.lock(VmUuid(vm), notice(short("VM.START"))) as lock:
        assert lock.next_sequence(lock.published) > given[-1]
    with memory.lock(VmUuid(vm), notice(short("VM.START"))) as lock:
        assert lock.next_sequence(Published(sequence=2**50)) == 2**50 + 1


def test_a_vm_that_is_gone_is_forgotten_with_the_fleet_s_tombstone(
    memory: RedisMemory, client: redis.Redis, vm: str
) -> None:
    with memory.lock(VmUuid(vm), notice(short("VM.START"))) as lock:
        lock.keep(replace(PUBLISHED, gone=True))

    (key,) = client.scan_iter(f"*:published:{vm}")
    assert 0 < client.ttl(key) <= 1200
