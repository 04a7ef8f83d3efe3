"""vSphere, on the simulated vCenter: requests and CPU time per event, with few and with many VMs on the datastore."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Effort, Item, Row, cpu_seconds, milliseconds
from configdrive.contract.outcome import Status
from rigs.cloud import VmScript
from rigs.fleet import Fleet
from rigs.process import RigUnavailable
from rigs.vcsim.server import VCenter

ESXI, DATASTORE = "esx-01", "shared"
MOST = {"start": 8, "stop": 6}
"""Requests per event, of the API and for files."""

CPU_SECONDS = 0.015
FLAT = 1.1
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What one event costs: requests to the vCenter, bytes that it answers, and CPU time of the worker."""

    requests: float
    size: float
    cpu: float


def measure(directory: Path, effort: Effort) -> Iterator[Item]:
    """Start and stop the same VMs, first alone, then among many others that lie on the same datastore."""
    try:
        from rigs.vcsim.cloud import Cloud  # noqa: PLC0415  # needs pyvmomi
    except ImportError as error:
        raise RigUnavailable(f"{error.name} is not installed") from error
    few, many = effort.pick(100, 40, 4), effort.pick(2000, 400, 8)
    center = VCenter(directory / "vcenter", {DATASTORE: [ESXI]}, hosts=[ESXI])
    with center, closing(Cloud(center)) as cloud:
        vms = [VmScript() for _ in range(effort.pick(50, 20, 2))]
        for vm in vms:
            cloud.define(vm.uuid, vm.name, datastore=DATASTORE, drive=False)
        inventory = center.inventory_text({ESXI: {"esxi": ESXI}})
        settings = {"pool": "solo", "concurrency": 1}
        costs: dict[int, dict[str, Cost]] = {}
        with Fleet(directory / "fleet", inventory, hypervisor="vmware", settings=settings) as fleet:
            _events(fleet, center, vms)  # the worker knows them then
            for there in (few, many):
                for number in range(len(vms) if there == few else few, there):
                    cloud.define(str(uuid.uuid4()), f"other-{number}", datastore=DATASTORE, drive=False)
                costs[there] = _events(fleet, center, vms)
    for kind, most in MOST.items():
        cost = costs[many][kind]
        flat = cost.size <= FLAT * costs[few][kind].size and cost.requests == costs[few][kind].requests
        yield Row(
            f"vSphere: requests per {kind}, {many} VMs on the datastore",
            f"{cost.requests:.1f}, {cost.size / 1000:.1f} kB",
            f"{few} VMs: {costs[few][kind].requests:.1f}, {costs[few][kind].size / 1000:.1f} kB",
            f"≤ {most}, the same within 10 %",
            flat and cost.requests <= most,
        )
        yield Row(
            f"vSphere: CPU time of the worker per {kind}, {many} VMs on the datastore",
            milliseconds(cost.cpu),
            f"{few} VMs: {milliseconds(costs[few][kind].cpu)}",
            f"≤ {milliseconds(CPU_SECONDS)}",
            cost.cpu <= CPU_SECONDS,
        )


def _events(fleet: Fleet, center: VCenter, vms: list[VmScript]) -> dict[str, Cost]:
    """Start and then stop all VMs, one after the other."""
    return {kind: _event(kind, fleet, center, vms) for kind in MOST}


def _event(kind: str, fleet: Fleet, center: VCenter, vms: list[VmScript]) -> Cost:
    worker = fleet.workers[0]
    center.calls()
    center.load()
    before = cpu_seconds([worker.pid])
    for vm in vms:
        guest = {"guest": {"password": "swordfish"}} if kind == "start" else {}
        receipt = fleet.publisher.publish(vm.event(kind, hypervisor="vmware", host=ESXI, **guest))
        outcome = fleet.publisher.wait(receipt, _PATIENCE)
        if outcome is None or outcome.status is not Status.APPLIED:
            raise RuntimeError(f"a {kind} came to {outcome}")
    cpu = cpu_seconds([worker.pid]) - before
    return Cost(len(center.calls()) / len(vms), center.load()["bytes"] / len(vms), cpu / len(vms))
