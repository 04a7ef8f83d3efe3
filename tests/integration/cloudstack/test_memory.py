"""What the adapters of a fleet remember together, on a real Redis."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from configdrive.errors import TransientCode, TransientError
from configdrive.model import VmUuid
from tests.unit.workers.cloudstack.recorded import action, job, short, state
from workers.cloudstack.decide import Power, Told
from workers.cloudstack.notices import Notice, read
from workers.cloudstack.redis_memory import RedisMemory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

    from rigs.redis import RedisServer

TOLD = Told(power=Power.ON, host="h1", at=5, state="Running", sequence=7, instance_name="i-2-3-VM", hypervisor="KVM")


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
    return RedisMemory(client, prefix=f"{tmp_path.name}:", had_seconds=600, gone_seconds=1200, patience=0.2)


def test_what_was_told_is_remembered_with_its_notice(memory: RedisMemory, vm: str) -> None:
    said = notice(state("Starting", "Running", 1))
    assert not memory.had(said)
    with memory.visit(VmUuid(vm), said) as visit:
        assert visit.told == Told()
        visit.keep(TOLD)

    assert memory.had(said)
    with memory.visit(VmUuid(vm), said) as visit:
        assert visit.told == TOLD


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
    with memory.visit(VmUuid(vm), notice(body)) as visit:
        visit.keep(TOLD)

    assert memory.had(notice(body)) is known
    lifetimes = [client.ttl(key) for key in client.scan_iter("*:had:*") if client.ttl(key) != -1]
    assert len(lifetimes) == len(list(client.scan_iter("*:had:*")))  # all of them end some day


def test_one_adapter_at_a_time_is_at_a_vm(memory: RedisMemory, vm: str) -> None:
    said = notice(short("VM.START"))
    with memory.visit(VmUuid(vm), said) as visit:
        visit.check()
        with pytest.raises(TransientError) as caught, memory.visit(VmUuid(vm), said):
            pass
    assert caught.value.code is TransientCode.VM_BUSY

    with memory.visit(VmUuid(vm), said):
        pass


def test_who_took_too_long_tells_nothing(memory: RedisMemory, client: redis.Redis, vm: str) -> None:
    with memory.visit(VmUuid(vm), notice(short("VM.START"))) as visit:
        client.delete(*client.scan_iter(f"*:lock:{vm}"))
        with pytest.raises(TransientError):
            visit.check()


def test_sequences_grow_also_when_many_ask_and_all_is_forgotten(
    memory: RedisMemory, client: redis.Redis, vm: str
) -> None:
    patient = RedisMemory(client, prefix=f"{vm}:", had_seconds=60, gone_seconds=60, patience=30)
    given: list[int] = []

    def tell() -> None:
        for _ in range(10):
            with patient.visit(VmUuid(vm), notice(short("VM.START"))) as visit:
                sequence = visit.next_sequence(visit.told)
                visit.keep(replace(visit.told, sequence=sequence))
                given.append(sequence)

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert given == sorted(set(given))

    client.delete(*client.scan_iter(f"{vm}:*"))
    time.sleep(0.1)  # so many at once run ahead of the clock by a millisecond each
    with patient.visit(VmUuid(vm), notice(short("VM.START"))) as visit:
        assert visit.next_sequence(visit.told) > given[-1]
    with memory.visit(VmUuid(vm), notice(short("VM.START"))) as visit:
        assert visit.next_sequence(Told(sequence=2**50)) == 2**50 + 1


def test_a_vm_that_is_gone_is_forgotten_with_the_fleet_s_tombstone(
    memory: RedisMemory, client: redis.Redis, vm: str
) -> None:
    with memory.visit(VmUuid(vm), notice(short("VM.START"))) as visit:
        visit.keep(replace(TOLD, gone=True))

    (key,) = client.scan_iter(f"*:told:{vm}")
    assert 0 < client.ttl(key) <= 1200
