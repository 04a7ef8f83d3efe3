"""One attempt of the whole fleet at a time creates, destroys or scans in an SR: XAPI never lets one sleep at random."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from configdrive.errors import UNCOUNTED, TransientError
from configdrive.model import HypervisorName, StoredImage
from tasks import isolation
from tasks.isolation import Isolation
from tasks.lease import LeaseKeeper, now
from tasks.leftovers import Leftovers
from tasks.mailbox import Held
from tasks.storage_sweep import StorageSweeper
from tests.contract.rig import image_name, make_image
from tests.integration.xenserver.cloud import LOCAL_A, NFS, A, Cloud
from tests.mailboxes import Store
from tests.unit.fakes.small import FakeClock

if TYPE_CHECKING:
    from configdrive.model import Vm
    from workers.hypervisors.xenserver.driver import XenServerDriver

XENSERVER = HypervisorName("xenserver")
STARTS, AT_ONCE, PROCESSES = 8, 6, 2

_numbers = itertools.count()


def start(driver: XenServerDriver, vm: Vm, store: Store) -> None:
    """What a warm start does, as an attempt: an upload, the exchange, the old image's deletion."""
    attempts = Isolation(store.places)
    with attempts.watch(XENSERVER, f"attempt {next(_numbers)}", frozenset()):
        driver.upload(vm, make_image(vm, 2), NFS)
        driver.attach(vm, image_name(vm, 2), NFS)
        driver.delete(vm, StoredImage(image_name(vm, 1), NFS), anyones=False)


def test_many_starts_in_one_storage_are_never_in_one_another_s_way(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "ALONE_SECONDS", 600.0)  # this machine may be slow
    store, drivers = Store(), [cloud.driver(sessions=AT_ONCE, timeout=60.0) for _ in range(PROCESSES)]
    vms = [cloud.vm() for _ in range(STARTS)]
    for vm in vms:
        drivers[0].upload(vm, make_image(vm), NFS)
        drivers[0].attach(vm, image_name(vm), NFS)
        cloud.site.start_vm(vm.uuid, A)
    cloud.pool.calls.clear()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(start, itertools.cycle(drivers), vms, itertools.repeat(store)))
    assert cloud.pool.exclusion.conflicts == 0
    assert [cloud.medium(vm) for vm in vms] == [make_image(vm, 2).content for vm in vms]
    assert set(cloud.images(NFS)) == {image_name(vm, 2).file for vm in vms}


def test_who_waits_for_too_long_is_deferred_and_has_changed_nothing(
    cloud: Cloud, driver: XenServerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, vm, other = Store(), cloud.vm(), cloud.vm(LOCAL_A)
    driver.upload(vm, make_image(vm), NFS)
    (sr,) = cloud.iso_srs()
    monkeypatch.setattr(isolation, "ALONE_SECONDS", 0.0)
    assert store.places.come_alone(f"SR {sr['uuid']}", "another process") == 0
    with Isolation(store.places).watch(XENSERVER, "mine", frozenset()):
        with pytest.raises(TransientError) as caught:
            driver.upload(vm, make_image(vm, 2), NFS)
        assert caught.value.code in UNCOUNTED
        driver.upload(other, make_image(other), LOCAL_A)  # another SR is nobody's business
    held = store.mailbox.hold(vm.uuid)  # as the sweep and the leftover pass do
    assert isinstance(held, Held)
    leases = LeaseKeeper(store.mailbox, seconds=30.0, longest=60.0, places=store.places)
    with leases.keep(held, now()), pytest.raises(TransientError) as caught:
        driver.delete(vm, StoredImage(image_name(vm), NFS))
    assert caught.value.code in UNCOUNTED
    assert set(cloud.images(NFS)) == {image_name(vm).file}
    store.places.go_away(f"SR {sr['uuid']}", "another process")
    with Isolation(store.places).watch(XENSERVER, "mine", frozenset()):
        driver.upload(replace(vm), make_image(vm, 2), NFS)


def test_a_survey_waits_in_line_too_and_reads_without_a_scan_when_its_turn_does_not_come(
    cloud: Cloud, driver: XenServerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, vm = Store(), cloud.vm()
    driver.upload(vm, make_image(vm), NFS)
    (sr,) = cloud.iso_srs()
    leases = LeaseKeeper(store.mailbox, seconds=30.0, longest=60.0, places=store.places)
    leftovers = Leftovers(store.mailbox, {XENSERVER: driver}, leases=leases)
    sweeper = StorageSweeper(store.mailbox, driver, FakeClock(), leases, grace=0.0, leftovers=leftovers)
    monkeypatch.setattr(isolation, "ALONE_SECONDS", 0.0)
    assert store.places.come_alone(f"SR {sr['uuid']}", "another process") == 0
    for scans in (0, 1):
        assert set(sweeper.look().images) == {StoredImage(image_name(vm), NFS)}
        assert cloud.pool.calls["SR.scan"] == scans
        store.places.go_away(f"SR {sr['uuid']}", "another process")
    assert store.places.come_alone(f"SR {sr['uuid']}", "the next") == 0


def test_they_go_in_the_order_in_which_they_came_and_who_asks_no_more_is_passed_by() -> None:
    places, what = (store := Store()).places, "SR x"

    def come(*owners: str) -> list[int]:
        return [places.come_alone(what, owner) for owner in owners]

    assert come("a", "b", "c", "b", "a") == [0, 1, 2, 1, 0]
    store.client.hset(f"{store.prefix}asked:{what}", "b", 0)  # it died in line
    assert come("c") == [1]
    places.go_away(what, "a")
    assert come("c", "b", "a") == [0, 1, 2]
    store.client.delete(f"{store.prefix}alone:{what}")  # c died: its lease ended
    assert come("a", "b") == [1, 0]
    for owner in "abc":
        places.go_away(what, owner)
    assert not store.client.keys(f"{store.prefix}*{what}")
