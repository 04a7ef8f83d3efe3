"""One attempt of the whole fleet at a time creates, destroys or scans in an SR: XAPI never lets one sleep at random."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace

import pytest

from configdrive.errors import UNCOUNTED, TransientError
from configdrive.model import HostName, HypervisorName, StoredImage, Vm, VmUuid
from configdrive.places import alone, at, line_up
from tasks import isolation
from tasks.isolation import Isolation, Leaving, Visit
from tasks.lease import LeaseKeeper, now
from tasks.leftovers import Leftovers
from tasks.mailbox import Held
from tasks.storage_sweep import StorageSweeper
from tests.contract.rig import image_name, make_image
from tests.integration.xenserver.cloud import LOCAL_A, NFS, A, Cloud, give
from tests.mailboxes import Store, new_vm
from tests.unit.fakes.small import FakeClock
from workers.hypervisors.xenserver.driver import XenServerDriver
from workers.hypervisors.xenserver.image_folder import line_at

XENSERVER = HypervisorName("xenserver")
STARTS, AT_ONCE, PROCESSES = 8, 6, 2

_numbers = itertools.count()


def start(driver: XenServerDriver, vm: Vm, store: Store) -> None:
    """What a warm start does, as an attempt: an upload, the exchange, the old image's deletion."""
    attempts = Isolation(store.places)
    with attempts.watch(XENSERVER, f"attempt {next(_numbers)}", frozenset(), vm=vm.uuid):
        give(driver, vm, 2)
        driver.delete(vm, StoredImage(image_name(vm, 1), NFS), anyones=False)


def line_of(driver: XenServerDriver, vm: Vm) -> str:
    storage = driver.observe(vm).storage
    assert storage is not None
    return line_at(storage)


def test_many_starts_in_one_storage_are_never_in_one_another_s_way(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "ALONE_SECONDS", 600.0)  # this machine may be slow
    store, drivers = Store(), [cloud.driver(sessions=AT_ONCE, timeout=60.0) for _ in range(PROCESSES)]
    vms = [cloud.vm() for _ in range(STARTS)]
    for vm in vms:
        give(drivers[0], vm)
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
    monkeypatch.setattr(isolation, "ALONE_SECONDS", 0.0)
    assert store.places.come_alone(line_of(driver, vm), "another process") == 0
    with Isolation(store.places).watch(XENSERVER, "mine", frozenset(), vm=vm.uuid):
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
    store.places.go_away(line_of(driver, vm), "another process", Leaving.ENDED)
    with Isolation(store.places).watch(XENSERVER, "mine", frozenset(), vm=vm.uuid):
        driver.upload(replace(vm), make_image(vm, 2), NFS)


def test_who_has_many_before_waits_without_a_call_and_without_a_session(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, vm, driver = Store(), cloud.vm(), cloud.driver(sessions=1)
    driver.upload(vm, make_image(vm), NFS)
    known = driver.observe(vm).storage
    assert known is not None
    monkeypatch.setattr(isolation, "ALONE_SECONDS", 0.0)
    others = [new_vm() for _ in range(3)]
    for other in others:
        assert store.places.come_near(line_at(known), other) < len(others)
        store.places.go_away(line_at(known), other, Leaving.WORKS)
    cloud.pool.calls.clear()
    with Isolation(store.places).watch(XENSERVER, "mine", frozenset(), vm=vm.uuid):
        with pytest.raises(TransientError) as caught:
            driver.observe(vm, [known])
        assert caught.value.code in UNCOUNTED
        assert not cloud.pool.calls
        store.places.go_away(line_at(known), others[0], Leaving.ENDED)
        driver.observe(vm, [known])
        assert not [method for method in cloud.pool.calls if "get_all_records" in method and "where" not in method]


def test_a_survey_waits_in_line_too_and_reads_without_a_scan_when_its_turn_does_not_come(
    cloud: Cloud, driver: XenServerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, vm = Store(), cloud.vm()
    driver.upload(vm, make_image(vm), NFS)
    leases = LeaseKeeper(store.mailbox, seconds=30.0, longest=60.0, places=store.places)
    leftovers = Leftovers(store.mailbox, {XENSERVER: driver}, leases=leases)
    sweeper = StorageSweeper(store.mailbox, driver, FakeClock(), leases, grace=0.0, leftovers=leftovers)
    monkeypatch.setattr(isolation, "ALONE_SECONDS", 0.0)
    assert store.places.come_alone(line_of(driver, vm), "another process") == 0
    for scans in (0, 1):
        assert set(sweeper.look().images) == {StoredImage(image_name(vm), NFS)}
        assert cloud.pool.calls["SR.scan"] == scans
        store.places.go_away(line_of(driver, vm), "another process", Leaving.ENDED)
    assert store.places.come_alone(line_of(driver, vm), "the next") == 0


def test_they_go_in_the_order_in_which_they_came_and_who_asks_no_more_is_passed_by() -> None:
    places, what = (store := Store()).places, "SR x"
    asked, alone = f"{store.prefix}asked:{what}", f"{store.prefix}alone:{what}"

    def come(*vms: str) -> list[int]:
        return [places.come_alone(what, vm) for vm in vms]

    def go(vm: str, leaving: Leaving) -> None:
        places.go_away(what, vm, leaving)

    assert come("a", "b", "c", "b", "a") == [0, 1, 2, 1, 0]
    store.client.zadd(asked, {"b": (store.client.zscore(asked, "b") or 0) - 5_000})  # it died in line
    assert come("c") == [1]
    go("a", Leaving.DEFERRED)
    assert come("c", "b") == [0, 1]
    assert come("d", "a", "b", "d") == [2, 1, 2, 3]  # `a` comes once more, for another call: it was the first of them
    go("b", Leaving.WORKS)
    assert come("d", "a") == [2, 1]
    assert [places.come_near(what, vm) for vm in "ad"] == [1, 3]  # these who work count as well
    go("b", Leaving.DEFERRED)
    assert places.come_near(what, "d") == 2
    store.client.delete(alone)  # c died: its lease ended
    assert come("b", "a", "b") == [1, 0, 1]
    store.client.zadd(asked, {"b": 1})  # it has not come again for two minutes
    go("a", Leaving.ENDED)
    assert come("c", "d", "b") == [0, 1, 2]
    for vm in "abcd":
        go(vm, Leaving.ENDED)
    assert not store.client.keys(f"{store.prefix}*{what}")


def test_a_vm_that_was_deferred_and_one_that_comes_twice_have_the_place_that_they_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    places, (first, second, third) = Store().places, (new_vm() for _ in range(3))
    attempts = Isolation(places)

    def attempt(vm: VmUuid) -> AbstractContextManager[Visit]:
        return attempts.watch(XENSERVER, f"attempt {next(_numbers)}", frozenset(), vm=vm)

    monkeypatch.setattr(isolation, "ALONE_SECONDS", 0.0)
    assert places.come_alone("it", "another process") == 0
    for vm in (first, second):
        with attempt(vm), pytest.raises(TransientError), alone("it"):
            pass
    places.go_away("it", "another process", Leaving.ENDED)
    assert places.come_alone("it", third) == 0
    assert places.come_alone("it", second) == 1
    with attempt(first), pytest.raises(TransientError, match="1 attempts"), alone("it"):
        pass  # behind who is there only, though it came after `second` this time
    places.go_away("it", third, Leaving.ENDED)
    with attempt(first):
        for _ in range(2):
            with alone("it"):
                assert places.come_alone("it", second) == 1
    assert places.come_alone("it", second) == 0
    assert places.come_alone("it", first) == 1  # its work was done: it is as new


def test_who_has_begun_waits_on_and_blames_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    store, vm = Store(), new_vm()
    attempts, entered = Isolation(store.places, doubt=0.01), threading.Event()
    monkeypatch.setattr(isolation, "ALONE_SECONDS", 0.0)
    monkeypatch.setattr(isolation, "BEGUN_SECONDS", 600.0)

    def work() -> bool:
        with attempts.watch(XENSERVER, "mine", frozenset(), vm=vm):
            line_up("it")
            entered.set()
            assert store.places.come_alone("it", "another process") == 0
            with at(HostName("h")), alone("it") as waited:
                return waited

    with ThreadPoolExecutor(1) as threads:
        late = threads.submit(work)
        assert entered.wait(300)
        time.sleep(0.1)  # so that it has been there for longer than what is doubted
        assert not late.done(), late.result()
        attempts.look()
        assert store.client.hgetall(f"{store.prefix}places:{XENSERVER}") == {}
        store.places.go_away("it", "another process", Leaving.ENDED)
        assert late.result(300)
