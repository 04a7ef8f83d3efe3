"""A pool in trouble: the event is tried again, or says what is wrong, and nothing is left half-done."""

from collections.abc import Iterator

import pytest

from configdrive.contract.outcome import Status
from configdrive.errors import TransientCode
from rigs.fleet import Fleet
from rigs.process import wait_until
from tests.e2e.orchestrator import GUEST
from tests.e2e.xenserver.conftest import NewVm
from tests.integration.metrics.asking import connections
from tests.integration.xenserver.cloud import LOCAL_A, A, B, Cloud


@pytest.fixture(autouse=True)
def mended(cloud: Cloud) -> Iterator[None]:
    yield
    cloud.pool.faults.clear()
    cloud.pool.make_master(A)


@pytest.mark.parametrize("method", ["VDI.create", "VBD.create", "VM.get_record"])
def test_what_a_restarted_toolstack_has_lost_is_tried_again_and_leaves_the_one_right_image(
    new_vm: NewVm, cloud: Cloud, method: str
) -> None:
    vm = new_vm()
    cloud.pool.faults.drop(method, meanwhile=lambda: cloud.pool.restart_toolstack(A))
    outcome = vm.send("start", guest=GUEST)
    assert (outcome.status, outcome.attempts) == (Status.APPLIED, 2)
    assert list(vm.images().values()) == [vm.medium()]
    assert len(cloud.config_drives(vm.vm)) == 1


def test_a_new_master_and_expired_sessions_cost_no_attempt(new_vm: NewVm, cloud: Cloud) -> None:
    for change in (lambda: cloud.pool.make_master(B), cloud.pool.expire_sessions):
        vm = new_vm()
        vm.send("deploy", guest=GUEST)
        change()
        outcome = vm.send("start")
        assert (outcome.status, outcome.attempts) == (Status.APPLIED, 1)
        assert vm.medium() is not None


def test_a_pool_that_is_away_parks_a_start_and_goes_on_when_it_is_back(
    new_vm: NewVm, cloud: Cloud, fleet: Fleet
) -> None:
    vm, before = new_vm(), len(fleet.log)
    for host in (A, B):
        cloud.pool.take_down(host)
    try:
        parked = vm.send("start", guest=GUEST)
        assert (parked.status, parked.code) == (Status.PARKED, TransientCode.HOST_UNREACHABLE)
    finally:
        for host in (A, B):
            cloud.pool.bring_up(host)
    assert "Traceback" not in fleet.log[before:]
    assert vm.goes_on(parked).status is Status.APPLIED
    assert list(vm.images().values()) == [vm.medium()]


def test_connections_and_those_that_were_lost_are_counted_for_prometheus(
    new_vm: NewVm, cloud: Cloud, fleet: Fleet
) -> None:
    assert new_vm().send("start", guest=GUEST).status is Status.APPLIED

    def count() -> tuple[float, float]:
        return connections(fleet, "p", "xapi")

    kept, before = wait_until(lambda: count() if count()[0] else None, "a connection to be counted", timeout=10)
    assert kept <= len(fleet.workers) * fleet.settings.concurrency * 4
    cloud.pool.expire_sessions()

    def lost_one() -> bool:
        return new_vm().send("start", guest=GUEST).status is Status.APPLIED and count()[1] > before

    wait_until(lost_one, "a worker to notice", timeout=60)  # whose turn it is next is not said


def test_a_stop_ends_while_the_storage_is_away(new_vm: NewVm, cloud: Cloud) -> None:
    vm = new_vm(LOCAL_A)
    assert vm.send("start", guest=GUEST).status is Status.APPLIED
    uuids = [cloud.storages[LOCAL_A], *(sr["uuid"] for sr in cloud.iso_srs() if cloud.storages[LOCAL_A] in str(sr))]
    pbds = [pbd for uuid in uuids for pbd in cloud.call("SR.get_PBDs", cloud.call("SR.get_by_uuid", uuid))]
    for pbd in pbds:
        cloud.call("PBD.unplug", pbd)
    try:
        stopped = vm.send("stop")
        assert stopped.status is Status.APPLIED
        assert stopped.facts["left_behind"]
    finally:
        for pbd in pbds:
            cloud.call("PBD.plug", pbd)
    wait_until(lambda: vm.images() == {}, "the leftover to be deleted", timeout=30)
