"""The seed's life of a config drive on vSphere, from the event to what is in the VM's drive."""

import time

import pytest

from configdrive.contract.outcome import Status
from rigs.fleet import Fleet
from rigs.iso_files import read_iso
from rigs.vcsim.cloud import Cloud
from rigs.vcsim.server import PASSWORD as VCENTER_PASSWORD
from rigs.vcsim.server import VCenter
from tests.e2e.orchestrator import GUEST, PASSWORD
from tests.e2e.vmware.conftest import CONCURRENCY, NewVm

PASSWORD_FILE = "cloudstack/password/vm_password.txt"
VMS = 50
DELAY_MS = 50


def test_deploy_start_reset_stop_start_destroy(new_vm: NewVm, cloud: Cloud, fleet: Fleet) -> None:
    vm = new_vm()
    deployed = vm.send("deploy", guest=GUEST)
    assert (deployed.status, deployed.facts["storage"]) == (Status.APPLIED, "shared")
    assert (len(vm.images()), vm.medium()) == (1, None)

    started = vm.send("start")
    assert (started.status, started.facts["attach"], started.facts["device"], started.facts["password"]) == (
        Status.APPLIED,
        "inserted",
        "ide1:1",
        "on_drive",
    )
    vm.power_on()
    assert vm.images() == [vm.medium()] == [started.facts["path"]]
    assert read_iso(vm.content())[PASSWORD_FILE] == PASSWORD.encode()

    changed = vm.send("password_reset", guest={"password": "changed"}, apply="now")
    assert changed.facts["attach"] == "inserted"
    assert read_iso(vm.content())[PASSWORD_FILE] == b"changed"
    assert vm.images() == [vm.medium()]

    vm.power_off()
    assert vm.send("stop").status is Status.APPLIED
    assert (vm.images(), vm.medium(), cloud.drives(vm.name)) == ([], None, [])

    assert vm.send("start").status is Status.APPLIED
    assert PASSWORD_FILE not in read_iso(vm.content())
    assert vm.send("destroy").status is Status.APPLIED
    assert (vm.images(), vm.medium()) == ([], None)
    listing = list((cloud.center.datastore("shared") / "configdrive").iterdir())
    assert [path.name for path in listing if vm.script.uuid in path.name] == []
    for log in (fleet.log, (cloud.center.directory / "vcsim.log").read_text()):
        assert [secret for secret in (PASSWORD, VCENTER_PASSWORD) if secret in log] == []


def test_fifty_vms_are_started_by_as_many_children_as_there_are(
    new_vm: NewVm, center: VCenter, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every call to the vCenter, of the API and for a file, takes 50 ms; nothing else shall count."""
    for vm in [new_vm() for _ in range(2 * CONCURRENCY)]:  # every child of the pool has its session
        vm.send("start", guest=GUEST)
        vm.send("stop")
    vms = [new_vm() for _ in range(VMS)]
    center.calls()
    center.load()
    with center.delay(DELAY_MS):
        began = time.monotonic()
        events = [vm.publish("start", guest={"password": f"{PASSWORD}-{vm.name}"}) for vm in vms]
        outcomes = [vm.outcome(event) for vm, event in zip(vms, events, strict=True)]
        seconds = time.monotonic() - began
    per_start = len(center.calls()) / VMS
    with capsys.disabled():
        print(  # noqa: T201
            f"\nvSphere: {VMS} VMs started at once by {CONCURRENCY} children: {seconds:.1f} s"
            f" ({per_start:.1f} requests per start, {DELAY_MS} ms each)"
        )
    assert center.load()["most"] == CONCURRENCY
    assert {outcome.status for outcome in outcomes} == {Status.APPLIED}
    for vm in vms:
        assert read_iso(vm.content())[PASSWORD_FILE] == f"{PASSWORD}-{vm.name}".encode()
        assert vm.images() == [vm.medium()]
