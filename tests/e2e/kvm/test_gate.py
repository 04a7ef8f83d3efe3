"""CloudStack's KVM agent asks the gate right before it starts a VM: the drive is there from the first instruction on.

The agent's hook is the real Groovy script, run by a JVM as the agent runs it; libvirt starts what it answers.
"""

import signal
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import libvirt
import pytest

from configdrive.contract.outcome import Status
from rigs.certificates import Certificates
from rigs.cloudstack import CloudStack
from rigs.fleet import Fleet
from rigs.guest import Disk, GuestKernel, Machine, domain_xml, wait_for_report
from rigs.process import LOOPBACK
from tests.e2e.kvm.gated import HOST, Gated, Started
from tests.e2e.kvm.site import Site
from tests.integration.kvm.cloud import disk
from tests.support import require_rig


@pytest.fixture(scope="module")
def gated(hosts: Site, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    certificates = Certificates.make(tmp_path_factory.mktemp("pki"), LOOPBACK)
    with require_rig():
        place = tmp_path_factory.mktemp("gate")
        with CloudStack(certificates) as cloudstack, Gated(place, hosts, fleet, cloudstack, certificates) as gated:
            yield gated


@pytest.fixture
def vm(gated: Gated) -> Iterator[Started]:
    gated.agent.set(fail_closed="false", seconds="100", restart="5", pause="0")
    made = gated.new_vm()
    yield made
    made.ends()


def elements(xml: str, before: str) -> list[ET.Element]:
    """Return the disks that one XML has more than another."""
    old = {ET.tostring(one) for one in ET.fromstring(before).iterfind("devices/disk")}  # noqa: S314
    return [one for one in ET.fromstring(xml).iterfind("devices/disk") if ET.tostring(one) not in old]  # noqa: S314


def test_a_guest_prints_its_drive_at_its_first_look(gated: Gated, vm: Started, tmp_path: Path) -> None:
    with require_rig():
        guest = GuestKernel.prepare()
    console = tmp_path / "console"
    root = Disk("vda", "virtio", gated.cloud.root_disk(vm.uuid))
    begun = domain_xml(vm.name, vm.uuid, guest, console, disks=[root], machine=Machine(type="pc", wait=0))
    vm.runs(vm.starts(begun))
    report = wait_for_report(console, 1)
    assert report.files["openstack/latest/user_data"] == b"#cloud-config\n"
    assert report.files["cloudstack/metadata/vm_id.txt"].strip() == vm.uuid.encode()

    (image,) = vm.drives()
    vm.said("Running")
    _, made_sure = vm.settled(2)
    assert made_sure.facts["attach"] == "already"
    assert vm.drives() == [image]


@pytest.mark.parametrize(
    "case", ["no drive", "router", "unmanaged", "own drive", "elsewhere", "unknown", "not asked for"]
)
def test_what_gets_no_drive_is_started_as_it_came(gated: Gated, vm: Started, case: str) -> None:
    xml, command = vm.xml, "start"
    match case:
        case "no drive":
            gated.cloudstack.vms[vm.uuid] |= gated.without_drive
        case "router":
            xml = xml.replace(vm.name, "r-4-VM")
        case "unmanaged":
            command = "unmanage"
        case "own drive":
            own = disk(f"/mnt/x/configdrive/{vm.name}.iso", "hdd", "ide")
            xml = xml.replace("</devices>", own + "</devices>")
        case "unknown":
            xml = xml.replace(vm.uuid, str(uuid.uuid4()))
        case _:
            pass
    vm.comes_to("Starting" if case != "not asked for" else "Stopped", "h2" if case == "elsewhere" else HOST)

    assert gated.agent.transform(xml, command=command) == xml
    if case == "own drive":
        vm.said("Running")
        assert {one.status for one in vm.settled(2)} == {Status.NOT_APPLICABLE}


def test_without_a_gate_a_vm_starts_without_its_drive_or_not_at_all_as_is_set(gated: Gated, vm: Started) -> None:
    assert gated.gate is not None
    gated.gate.kill()
    gated.agent.set(restart="0", fail_closed="true")
    try:
        none = vm.starts()
        gated.agent.set(fail_closed="false")
        assert vm.starts() == vm.xml
    finally:
        gated.start_gate()
    with pytest.raises(libvirt.libvirtError, match="no-config-drive/the gate is not there"):
        vm.runs(none)
    vm.runs(vm.xml)
    vm.said("Running")
    (outcome,) = vm.settled(1)
    assert outcome.facts["attach"] == "hot_added"
    assert len(vm.drives()) == 1


def test_fail_closed_makes_libvirt_insist_on_the_image_though_another_setting_is_missing(
    gated: Gated, vm: Started
) -> None:
    for host, policy, file in ((HOST, "requisite", "/"), ("", None, "/no-config-drive/host is not set")):
        gated.agent.set(fail_closed="true", host=host)
        try:
            (drive,) = elements(vm.starts(), vm.xml)
        finally:
            gated.agent.set(host=HOST)
        source = drive.find("source")
        assert source is not None
        assert policy is None or source.get("startupPolicy") == policy
        assert source.get("file", "").startswith(file)


def test_after_two_failures_a_gate_is_left_alone_for_a_while(gated: Gated, vm: Started) -> None:
    url = f"https://{LOOPBACK}:{gated.port}"
    gated.agent.set(url="https://127.0.0.1:1", restart="0", pause="3600")
    for _ in range(2):
        assert vm.starts() == vm.xml
    gated.agent.set(url=url)
    said = len(gated.agent.log)
    assert vm.starts() == vm.xml
    assert "is left alone for a minute" in gated.agent.log[said:]
    gated.agent.set(pause="0")
    assert elements(vm.starts(), vm.xml)


def test_a_fleet_that_is_late_with_one_vm_keeps_no_other_from_its_drive(gated: Gated, vm: Started) -> None:
    worker = gated.fleet.workers[0]
    gated.start_gate(seconds=1)
    try:
        worker.pause()
        said = len(gated.agent.log)
        for _ in range(2):
            assert vm.starts() == vm.xml
        assert gated.agent.log[said:].count("the gate says late") == 2
        gated.start_gate()
        gated.agent.set(pause="3600", hurry="1")
        assert vm.starts() == vm.xml  # it holds the agent for a second, and not for a hundred
        worker.resume()
        gated.agent.set(hurry="100")
        other = gated.new_vm(instancename=f"imported-{vm.name}")
        assert elements(other.starts(), other.xml)
    finally:
        worker.resume()


@pytest.mark.parametrize("wrong", ["token", "readable", "authority", "name", "host"])
def test_a_gate_that_is_not_ours_and_a_host_that_is_not_known_lead_to_no_drive(
    gated: Gated, vm: Started, tmp_path: Path, wrong: str
) -> None:
    url = f"https://{LOOPBACK}:{gated.port}"
    files = {"ca_file": str(gated.cloudstack.ca_file), "token_file": str(gated.agent.token_file)}
    own = tmp_path / "token"
    own.write_text(gated.token if wrong == "readable" else "guessed")
    own.chmod(0o644 if wrong == "readable" else 0o600)
    changed = {
        "token": {"token_file": str(own)},
        "readable": {"token_file": str(own)},
        "authority": {"ca_file": str(Certificates.make(tmp_path / "pki", LOOPBACK).directory / "cacert.pem")},
        "name": {"url": url.replace(LOOPBACK, "0.0.0.0")},  # noqa: S104 - a name of loopback that is in no certificate
        "host": {"host": "h2"},
    }[wrong]
    gated.agent.set(**changed)
    try:
        assert vm.starts() == vm.xml
    finally:
        gated.agent.set(url=url, host=HOST, **files)
    assert vm.outcomes() == []
    assert gated.token not in gated.agent.log
    said = {"readable": "chmod 600", "authority": "is not trusted", "name": "is not trusted"}.get(wrong, "HTTP 401")
    assert said in gated.agent.log.splitlines()[-1]


def test_an_agent_that_restarts_while_a_start_waits_gets_the_same_drive_when_cloudstack_sends_it_again(
    gated: Gated, vm: Started
) -> None:
    worker = gated.fleet.workers[0]
    worker.pause()
    start = vm.begins()
    vm.waits()
    gated.agent.kill()
    with suppress(ConnectionError):
        assert not start.result(600), "it ended without an answer"
    gated.agent.start()
    again = vm.begins()
    worker.resume()
    vm.runs(again.result(300))
    vm.said("Running")
    assert [one.facts["attach"] for one in vm.settled(2)] == ["orchestrator", "already"]
    assert len(vm.drives()) == 1


def test_a_start_that_cloudstack_gives_up_and_begins_anew_while_it_waits_leaves_one_drive(
    gated: Gated, vm: Started
) -> None:
    worker = gated.fleet.workers[0]
    worker.pause()
    given_up = vm.begins()
    vm.waits()
    vm.said("Stopped", None)
    again = vm.begins()
    vm.waits(3)
    worker.resume()
    xml = again.result(300)
    given_up.result(300)
    vm.runs(xml)
    vm.said("Running")
    outcomes = vm.settled(4, superseded=True)
    assert (outcomes[-1].event_type, outcomes[-1].facts["attach"]) == ("start", "already")
    (image,) = vm.drives()
    assert str(image) in xml


@pytest.mark.parametrize("lost", ["the answer", "a second", "the gate", "Redis"])
def test_whatever_answer_is_lost_a_vm_that_runs_has_exactly_one_drive(gated: Gated, vm: Started, lost: str) -> None:
    worker, gate = gated.fleet.workers[0], gated.gate
    assert gate is not None
    if lost == "the answer":
        assert elements(vm.starts(), vm.xml)
        xml = vm.xml  # the fleet has made the drive, and the agent does not know
    else:
        short = {"seconds": "1", "restart": "0"}
        gated.agent.set(**(short if lost == "a second" else {"seconds": "100", "restart": "60"}))
        worker.pause()
        start = vm.begins()
        vm.waits()
        if lost == "the gate":
            gate.signal(signal.SIGKILL)
            worker.resume()
            gated.start_gate()
        elif lost == "Redis":
            gated.fleet.redis.restart()
            worker.resume()
        xml = start.result(300)
        worker.resume()
        assert bool(elements(xml, vm.xml)) is (lost != "a second")
    vm.runs(xml)
    vm.said("Running")
    outcomes = vm.settled(2)
    assert [one.facts["attach"] for one in outcomes] == ["orchestrator", "already" if xml != vm.xml else "hot_added"]
    assert len(vm.drives()) == 1
    assert len({one.facts["path"] for one in outcomes}) == 1


@pytest.mark.parametrize(("machine", "bus"), [("pc", "ide"), ("q35", "sata")])
def test_a_windows_vm_has_its_drive_as_a_cd_that_windows_reads_from_the_start(
    gated: Gated, machine: str, bus: str
) -> None:
    vm = gated.new_vm(osdisplayname="Windows Server 2022 (64-bit)")
    vm.devices, vm.machine = "", machine
    xml = vm.starts()
    (drive,) = elements(xml, vm.xml)
    target = drive.find("target")
    assert target is not None
    assert (drive.get("device"), target.get("bus")) == ("cdrom", bus)
    try:
        vm.runs(xml)
        assert len(vm.drives()) == 1
    finally:
        vm.ends()
