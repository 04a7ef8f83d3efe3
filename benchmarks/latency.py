"""How long one event takes on its way to a running VM on a real KVM host."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.report import Effort, Item, Row, cpu_seconds, milliseconds, percentile
from configdrive.client.postings import Receipt
from configdrive.contract.outcome import Status
from rigs.fleet import Fleet
from rigs.guest import Disk, GuestKernel, Machine, domain_xml, wait_for_boot
from rigs.libvirt import LibvirtHost

_WARM_UP = 5
_PATIENCE = 30.0


def measure(directory: Path, effort: Effort) -> Iterator[Item]:
    """Give a running VM on a real libvirtd a new drive, again and again: from a program, and by the command line."""
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
            yield from _rows(fleet, vm, effort.pick(40, 10, 2))


def _rows(fleet: Fleet, vm: dict[str, str], runs: int) -> Iterator[Item]:
    worker = fleet.workers[0]
    before = cpu_seconds([worker.pid, *worker.children()])
    program = _timed(_by_program(fleet, vm), runs)
    cpu = (cpu_seconds([worker.pid, *worker.children()]) - before) / (_WARM_UP + runs)
    command = _timed(_by_command(fleet, vm), runs)
    yield Row("KVM: publish → outcome, running VM, from a program", _shown(program), f"{runs} runs")
    yield Row("KVM: CPU time that the worker spends on such an event", milliseconds(cpu))
    yield Row("KVM: the same by `configdrive publish --wait`, its whole process", _shown(command), f"{runs} runs")


def _timed(action: Callable[[int], None], runs: int) -> list[float]:
    """Run an action that is given its number, some times to warm up and then `runs` times; return their seconds."""
    durations = []
    for number in range(_WARM_UP + runs):
        began = time.perf_counter()
        action(number)
        durations.append(time.perf_counter() - began)
    return durations[_WARM_UP:]


def _shown(seconds: list[float]) -> str:
    return f"median {milliseconds(statistics.median(seconds))}, 95 % within {milliseconds(percentile(seconds, 95))}"


def _by_program(fleet: Fleet, vm: dict[str, str]) -> Callable[[int], None]:
    def publish(number: int) -> None:
        receipt = fleet.publisher.publish(_event("start", number, vm, "kvm", "kvm-01"))
        _require_applied(fleet, receipt)

    return publish


def _by_command(fleet: Fleet, vm: dict[str, str]) -> Callable[[int], None]:
    command = [str(Path(sys.executable).parent / "configdrive"), "publish", "-", "--wait"]

    def publish(number: int) -> None:
        event = json.dumps(_event("start", 1000 + number, vm, "kvm", "kvm-01"))
        subprocess.run(  # noqa: S603 - our own program
            command, input=event.encode(), env=fleet.environment, check=True, stdout=subprocess.DEVNULL
        )

    return publish


def _require_applied(fleet: Fleet, receipt: Receipt) -> None:
    outcome = fleet.publisher.wait(receipt, _PATIENCE)
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
