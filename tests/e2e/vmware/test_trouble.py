"""A vCenter in trouble: the event is tried again, or says what is wrong; what is left is the one right image."""

import os
import signal

import pytest

from configdrive.contract.outcome import Status
from configdrive.errors import PermanentCode, TransientCode
from rigs.fleet import Fleet
from rigs.process import wait_until
from rigs.vcsim.server import VCenter
from tests.e2e.orchestrator import GUEST
from tests.e2e.vmware.conftest import NewVm


@pytest.mark.parametrize(
    "rule",
    [
        {"method": "PUT", "cut": 100_000},
        {"method": "MoveDatastoreFile_Task", "close": True, "after": True},
        {"method": "ReconfigVM_Task", "close": True, "after": True},
        {"method": "FindAllByUuid", "close": True},
    ],
    ids=str,
)
def test_a_connection_that_dies_on_the_way_leaves_the_one_right_image(
    new_vm: NewVm, center: VCenter, rule: dict[str, object]
) -> None:
    new_vm().send("deploy", guest=GUEST)  # the folder is there
    vm = new_vm()
    with center.broken({**rule, "times": 1}):
        outcome = vm.send("start", guest=GUEST)
    assert (outcome.status, outcome.attempts) == (Status.APPLIED, 2)
    assert outcome.facts["attach"] in {"inserted", "already"}
    assert vm.images() == [vm.medium()] == [outcome.facts["path"]]
    assert vm.send("destroy").status is Status.APPLIED
    assert (vm.images(), vm.medium()) == ([], None)


@pytest.mark.parametrize("method", ["PUT", "MoveDatastoreFile_Task", "ReconfigVM_Task"])
def test_a_killed_worker_s_start_is_taken_up_and_leaves_the_one_right_image(
    new_vm: NewVm, center: VCenter, fleet: Fleet, method: str
) -> None:
    new_vm().send("deploy", guest=GUEST)
    vm = new_vm()
    center.calls()
    with center.broken({"method": method, "hang": 2.0, "close": True, "times": 1}):
        event = vm.publish("start", guest=GUEST)
        wait_until(lambda: method in center.calls(), f"the call of {method}", timeout=20)
        for worker in fleet.workers:
            for child in worker.children():
                os.kill(child, signal.SIGKILL)
        outcome = vm.outcome(event)
    assert outcome.status is Status.APPLIED
    assert vm.images() == [vm.medium()] == [outcome.facts["path"]]


def test_a_vcenter_that_is_away_parks_a_start_which_goes_on_when_it_is_back(
    new_vm: NewVm, center: VCenter, fleet: Fleet
) -> None:
    vm, before = new_vm(), len(fleet.log)
    with center.down():
        parked = vm.send("start", guest=GUEST)
        assert (parked.status, parked.code) == (Status.PARKED, TransientCode.HOST_UNREACHABLE)
    assert "Traceback" not in fleet.log[before:]
    assert vm.goes_on(parked).status is Status.APPLIED
    assert vm.images() == [vm.medium()]


def test_a_right_that_lacks_is_reported_at_once(new_vm: NewVm, center: VCenter) -> None:
    vm = new_vm()
    with center.broken({"method": "ReconfigVM_Task", "fault": "NoPermission"}):
        parked = vm.send("start", guest=GUEST)
    assert (parked.status, parked.code, parked.attempts) == (Status.PARKED, PermanentCode.ACCESS_DENIED, 1)
    assert vm.images() == []  # what the start had brought, and could not attach
