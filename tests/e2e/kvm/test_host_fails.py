"""A host fails: events end, the VM starts elsewhere, and what the host has of it goes when the host is back."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from configdrive.contract.outcome import Outcome, Status
from configdrive.errors import StaleCode, TransientCode
from configdrive.lifecycle.state import Phase, VmRecord, peek
from configdrive.model import VmUuid
from rigs.fleet import Fleet
from rigs.process import wait_until
from tests.e2e.kvm.moving import Moving, NewVm, running
from tests.e2e.kvm.site import LOCAL, SHARED, Site
from tests.e2e.kvm.test_identity import run
from tests.e2e.orchestrator import GUEST

Absence = Callable[[Site], AbstractContextManager[None]]


@contextmanager
def switched_off(site: Site) -> Iterator[None]:
    """Switch h1 off for a while, with all its VMs."""
    site.hosts["h1"].stop()
    try:
        yield
    finally:
        site.hosts["h1"].start()
        site.clouds["h1"].reconnect()


def unreachable(site: Site) -> AbstractContextManager[None]:
    """Let h1 not be reached for a while; its VMs run on."""
    return site.clouds["h1"].unreachable()


def test_a_vm_that_comes_up_without_its_image_is_found_and_has_it_again(new_vm: NewVm, fleet: Fleet) -> None:
    """As after a reboot of the host whose storage was not there yet: no event says so."""
    vm = new_vm(LOCAL)
    path = running(vm)
    vm.power_off()
    content, inside = vm.images("h1")[path], vm.site.hosts["h1"].outside(path)
    inside.unlink()
    vm.power_on()
    assert vm.guest_has("h1") is None
    said = run(fleet, "sweep", "--drives")
    assert vm.script.uuid in {one["vm_uuid"] for one in said["drives"]}
    wait_until(lambda: vm.guest_has("h1") == str(path), "the drive to be filled", timeout=30)
    assert inside.read_bytes() == content


def remembered(vm: Moving) -> VmRecord:
    view = vm.fleet.mailbox.view(VmUuid(vm.script.uuid))
    assert view is not None
    assert view.state is not None
    return peek(view.state)


def require_left(outcome: Outcome, where: str) -> None:
    assert (outcome.status, outcome.code) == (Status.APPLIED, TransientCode.HOST_UNREACHABLE), outcome
    assert outcome.facts["left_behind"] == f"drive@h1, {where}"
    assert "h1" in outcome.detail


def wait_cleaned(vm: Moving) -> None:
    """Wait until the fleet has noticed by itself that h1 is back, and has finished there."""
    wait_until(lambda: remembered(vm).left_on == (), "h1 to be asked again", timeout=20)
    assert vm.media("h1") == set()


@pytest.mark.parametrize(("event", "absence"), [("stop", switched_off), ("destroy", unreachable)])
def test_what_a_stop_or_destroy_could_not_take_away_goes_when_the_host_is_back(
    new_vm: NewVm, hosts: Site, event: str, absence: Absence
) -> None:
    vm = new_vm(LOCAL)
    path = running(vm)
    with absence(hosts):
        require_left(vm.send(event), f"{LOCAL}@h1")
        assert remembered(vm).left_on == ("h1",)
        assert path in vm.images("h1")
    wait_cleaned(vm)
    assert vm.images("h1") == {}
    assert remembered(vm).phase is (Phase.GONE if event == "destroy" else Phase.ABSENT)
    if event == "destroy":
        late = vm.send("start", guest=GUEST)
        assert (late.status, late.code) == (Status.DROPPED, StaleCode.VM_GONE)


@pytest.mark.parametrize(
    ("absence", "code"),
    [
        (unreachable, TransientCode.HOST_UNREACHABLE),
        (lambda site: site.clouds["h1"].asleep(LOCAL), TransientCode.STORAGE_UNAVAILABLE),
    ],
    ids=["host", "storage"],
)
def test_starts_that_were_parked_because_a_place_was_away_go_on_by_themselves_when_it_is_back(
    new_vm: NewVm, hosts: Site, absence: Absence, code: TransientCode
) -> None:
    vms = [new_vm(LOCAL) for _ in range(2)]
    for vm in vms:
        vm.define()
    with absence(hosts):
        parked = [vm.send("start", guest=GUEST) for vm in vms]
    for vm, outcome in zip(vms, parked, strict=True):
        assert (outcome.status, outcome.code) == (Status.PARKED, code)
        assert vm.goes_on(outcome).status is Status.APPLIED
        assert vm.media("h1") == set(map(str, vm.images("h1")))
        assert len(vm.images("h1")) == 1


@pytest.mark.parametrize(("storage", "stopped"), [(LOCAL, True), (SHARED, False)])
def test_a_vm_starts_on_another_host_while_its_own_is_off(
    new_vm: NewVm, hosts: Site, storage: str, *, stopped: bool
) -> None:
    vm = new_vm(storage)
    old = running(vm)
    with switched_off(hosts):
        if stopped:
            require_left(vm.send("stop"), f"{storage}@{'shared' if storage == SHARED else 'h1'}")
        vm.define("h2")
        outcome = vm.send("start", host="h2", guest=GUEST)
        assert outcome.status is Status.APPLIED, outcome
        vm.power_on("h2")
    new = vm.guest_has("h2")
    assert new is not None
    assert new != str(old)
    wait_cleaned(vm)
    assert vm.guest_has("h2") == new
    assert {str(path) for path in vm.images("h2")} == {new}
    assert {str(path) for path in vm.images("h1")} == ({new} if storage == SHARED else set())
    assert old not in vm.images("h1")
