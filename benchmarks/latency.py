"""How long one event takes on its way to a running KVM VM, and the image's part of it."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Effort, Item, Row, milliseconds, percentile
from configdrive import contents, image
from configdrive.model import (
    Generation,
    HostName,
    HypervisorName,
    ImageName,
    InstanceName,
    Metadata,
    SecretBytes,
    SecretStr,
    SshKey,
    Vm,
    VmData,
    VmUuid,
)
from configdrive.outcome import Status
from tests.rigs.fleet import Fleet
from tests.rigs.guest import Disk, GuestKernel, Machine, domain_xml, wait_for_boot
from tests.rigs.libvirt import LibvirtHost

_WARM_UP = 5
_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, and every run's duration in seconds."""

    what: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """In seconds."""
        return statistics.median(self.seconds)

    @property
    def percentile95(self) -> float:
        """In seconds."""
        return percentile(self.seconds, 95)


def _timed(what: str, action: Callable[[int], None], runs: int) -> Figure:
    """Run an action that is given its number, some times to warm up and then `runs` times."""
    durations = []
    for number in range(_WARM_UP + runs):
        began = time.perf_counter()
        action(number)
        durations.append(time.perf_counter() - began)
    return Figure(what, tuple(durations[_WARM_UP:]))


def measure(directory: Path, effort: Effort) -> Iterator[Item]:
    """Measure one event after the other, each when the one before has ended."""
    figures = [image_build(effort.pick(200, 100, 10))]
    if effort is not Effort.TINY:  # a libvirtd and a guest take longer than such a glance may
        figures += kvm_by_command_line(directory, effort.pick(40, 10, 0))
    for figure in figures:
        shown = f"median {milliseconds(figure.median)}, 95 % within {milliseconds(figure.percentile95)}"
        yield Row(figure.what, shown, f"{len(figure.seconds)} runs")


def image_build(runs: int) -> Figure:
    """The full layout, built and read back."""
    vm = Vm(VmUuid(str(uuid.uuid4())), InstanceName("i-2-42-VM"), HypervisorName("kvm"), HostName("kvm-01"))
    data = VmData(
        metadata=Metadata("zone-1", "CloudStack-{1}", "i-2-42-VM", "web-1", "Small Instance", "42"),
        user_data=SecretBytes(b"#!/bin/sh\n" * 100),
        ssh_keys=(SshKey("key-1", "ssh-ed25519 " + "A" * 68),),
    )

    def build(number: int) -> None:
        files = contents.render(vm, data, SecretStr("secret"))
        name = ImageName(vm.instance_name, vm.uuid, Generation(number))
        image.build(name, files, label="config", built_at=1.0)

    return _timed("image: full layout, built, read back and compared", build, runs)


def kvm_by_command_line(directory: Path, runs: int) -> Iterator[Figure]:
    """A running VM on a real libvirtd gets a new drive: from a program that stays, and by the command line."""
    guest = GuestKernel.prepare()
    with LibvirtHost(directory / "h", "kvm-01") as host:
        host.define_pool("primary", directory / "pool")
        disks = [
            Disk("vda", "virtio", host.create_disk("primary", "root.qcow2"), "qcow2"),
            Disk("hdd", "ide", cdrom=True),
        ]
        vm = {"uuid": str(uuid.uuid4()), "instance_name": "i-2-42-VM"}
        # It looks for another label: a guest that just reads its drive holds the tray, which is not what is measured.
        machine, console = Machine(label="another"), directory / "console"
        xml = domain_xml(vm["instance_name"], vm["uuid"], guest, console, disks=disks, machine=machine)
        host.define_domain(xml)
        inventory = f'[kvm.hosts.kvm-01]\nuri = "{host.unix_uri}"\n'
        with host.connection() as connection, Fleet(directory / "fleet", inventory, hypervisor="kvm") as fleet:
            connection.lookupByUUIDString(vm["uuid"]).create()
            wait_for_boot(console)
            yield _timed("KVM: publish to outcome, running VM, from a program", _by_program(fleet, vm), runs)
            yield _timed(
                "KVM: the same by `configdrive publish --wait`, its whole process", _by_command(fleet, vm), runs
            )


def _by_program(fleet: Fleet, vm: dict[str, str]) -> Callable[[int], None]:
    def publish(number: int) -> None:
        receipt = fleet.publisher.publish(_event("start", number, vm, "kvm", "kvm-01"))
        _require_applied(fleet, receipt.event_id)

    return publish


def _by_command(fleet: Fleet, vm: dict[str, str]) -> Callable[[int], None]:
    command = [str(Path(sys.executable).parent / "configdrive"), "publish", "-", "--wait"]

    def publish(number: int) -> None:
        event = json.dumps(_event("start", 1000 + number, vm, "kvm", "kvm-01"))
        subprocess.run(  # noqa: S603 - our own program
            command, input=event.encode(), env=fleet.environment, check=True, stdout=subprocess.DEVNULL
        )

    return publish


def _require_applied(fleet: Fleet, event_id: str) -> None:
    outcome = fleet.publisher.wait(event_id, _PATIENCE)
    if outcome is None or outcome.status is not Status.APPLIED:
        raise RuntimeError(f"the measured event came to {outcome}")


def _event(event_type: str, sequence: int, vm: dict[str, str], hypervisor: str, host: str) -> dict[str, object]:
    return {
        "specversion": "1.0",
        "id": uuid.uuid4().hex,
        "source": "/benchmarks",
        "type": f"configdrive.vm.{event_type}.v1",
        "data": {"sequence": sequence, "vm": vm, "hypervisor": hypervisor, "host": host},
    }
