"""KVM, on a real libvirtd: calls, bytes and time of an event, on hosts of any size and far away; and by hand."""

from __future__ import annotations

import os
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.report import Effort, Item, Row, cpu_seconds, milliseconds
from configdrive.client.postings import Receipt
from configdrive.contract.outcome import Status
from configdrive.model import VmUuid
from rigs.cloud import VmScript
from rigs.fleet import Fleet
from rigs.libvirt import LibvirtHost
from rigs.libvirt_proxy import LibvirtProxy
from workers.hypervisors.kvm.image_folder import shard_of

if TYPE_CHECKING:
    import libvirt

HOST, POOL = "kvm-01", "primary"
MOST = {"start": 14, "stop": 10}
"""Calls to libvirtd per event."""

FLAT_CPU = 1.2
BYTES_BEYOND = 50_000
DELAYED, FAR = 2.0, 0.002
"""At a round trip of so many seconds: at most so many times what it takes by hand."""

AT_ONCE, THREADS = 1.5, 8
_PATIENCE = 300.0
_DISK = "<disk type='file' device='{}'><driver name='qemu' type='raw'/>{}<target dev='{}' bus='{}'/>{}</disk>"
_CHUNK = 256 * 1024 - 64


@dataclass(frozen=True, slots=True)
class Cost:
    """What one event costs, on average: calls to libvirtd, bytes from it, its CPU time; and the median of seconds."""

    calls: float
    size: float
    seconds: float
    cpu: float = 0.0


def measure(directory: Path, effort: Effort) -> Iterator[Item]:
    """Start, start again and stop halted VMs among ever more others; then the same with a way that takes longer."""
    crowds = (1, effort.pick(50, 20, 2), effort.pick(200, 60, 3), effort.pick(1000, 200, 4))
    runs = effort.pick(20, 8, 2)
    with LibvirtHost(directory / "h", HOST) as host, LibvirtProxy(host.port) as proxy:
        host.define_pool(POOL, directory / "pool")
        host.define_pool("by-hand", directory / "by-hand")
        inventory = f'[kvm.hosts.{HOST}]\nuri = "{proxy.uri}"\n'
        settings = {"pool": "solo", "concurrency": 1}
        vms: list[VmScript] = []
        found: dict[int, dict[str, Cost]] = {}
        with Fleet(directory / "fleet", inventory, hypervisor="kvm", settings=settings) as fleet:
            for crowd in crowds:
                while len(vms) < crowd:
                    vms.append(_define(host, directory / "pool"))
                    if len(vms) > 1:  # the first one's images are the fleet's
                        folder = directory / "pool" / "configdrive" / shard_of(VmUuid(vms[-1].uuid))
                        folder.mkdir(exist_ok=True)
                        (folder / f"{vms[-1].uuid}.iso").write_bytes(bytes(2**16))
                _events(fleet, proxy, vms[0], 2)  # the worker knows the host then
                before = cpu_seconds([host.pid])
                costs = _events(fleet, proxy, vms[0], runs)
                each = (cpu_seconds([host.pid]) - before) / (3 * runs)
                found[crowd] = {kind: replace(cost, cpu=each) for kind, cost in costs.items()}
            image_bytes = _image_bytes(fleet, directory, vms[0])
            yield from _cost_rows(found, image_bytes)
            yield _daemon_row(found)
            for delay in (0.0, FAR, 0.010):
                proxy.delay = delay
                yield _far_row(fleet, host, proxy, vms[0], (delay, effort.pick(10, 4, 2), image_bytes))
            proxy.delay = 0.0
        some = vms[: effort.pick(200, 40, 2)]
        settings = {"pool": "threads", "concurrency": THREADS}
        with Fleet(directory / "threads", inventory, hypervisor="kvm", settings=settings) as fleet:
            yield _at_once_row(fleet, host, some, image_bytes)


def _cost_rows(found: dict[int, dict[str, Cost]], image_bytes: int) -> Iterator[Row]:
    few, many = min(found), max(found)
    for kind, most in MOST.items():
        costs = {crowd: cost[kind] for crowd, cost in found.items()}
        limit = BYTES_BEYOND + (image_bytes * 1.1 if kind == "start" else 0)
        same = len({cost.calls for cost in costs.values()}) == 1
        yield Row(
            f"KVM: calls per {kind}, {many} VMs on the host",
            f"{costs[many].calls:.1f}, {costs[many].size / 1000:.0f} kB",
            ", ".join(f"{crowd} VMs: {cost.calls:.1f}" for crowd, cost in costs.items() if crowd != many),
            f"≤ {most}, the same; ≤ {limit / 1000:.0f} kB",
            same and costs[many].calls <= most and costs[many].size <= limit,
        )
        yield Row(
            f"KVM: publish → outcome of a {kind}, {many} VMs on the host",
            milliseconds(costs[many].seconds),
            f"{few} VM: {milliseconds(costs[few].seconds)}",
        )


def _daemon_row(found: dict[int, dict[str, Cost]]) -> Row:
    few, many = (found[crowd]["start"].cpu for crowd in (min(found), max(found)))
    return Row(
        f"KVM: CPU time of libvirtd per event, {max(found)} VMs with an image each on the host",
        milliseconds(many),
        f"{min(found)} VM: {milliseconds(few)}",
        f"≤ {FLAT_CPU} times",
        many <= FLAT_CPU * few,
    )


def _far_row(fleet: Fleet, host: LibvirtHost, proxy: LibvirtProxy, vm: VmScript, how: tuple[float, int, int]) -> Row:
    delay, runs, size = how
    ours = _events(fleet, proxy, vm, runs)["start"].seconds
    hand = ByHand(host, proxy.uri, [_define(host, host.directory.parent / "by-hand")], size)
    by_hand = statistics.median(_timed(lambda: hand.start(hand.vms[0])) for _ in range(runs + 1))
    hand.close()
    bar = delay == FAR
    return Row(
        f"KVM: a warm start that replaces an image, round trip + {delay * 1000:.0f} ms",
        milliseconds(ours),
        f"by hand, read back: {milliseconds(by_hand)}",
        f"≤ {DELAYED:.0f} times by hand" if bar else "",
        ours <= DELAYED * by_hand if bar else None,
    )


def _at_once_row(fleet: Fleet, host: LibvirtHost, vms: list[VmScript], size: int) -> Row:
    """Replace the images of all VMs at once, by so many threads."""
    _all_at_once(fleet, vms)
    ours = _timed(lambda: _all_at_once(fleet, vms))
    hand = ByHand(host, host.uri, [_define(host, host.directory.parent / "by-hand") for _ in vms], size)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(hand.start, hand.vms))
        by_hand = _timed(lambda: list(pool.map(hand.start, hand.vms)))
    hand.close()
    return Row(
        f"KVM: {len(vms)} starts at once that replace an image, {THREADS} threads",
        f"{ours:.1f} s",
        f"by hand, read back: {by_hand:.1f} s",
        f"≤ {AT_ONCE} times by hand",
        ours <= AT_ONCE * by_hand,
    )


def _all_at_once(fleet: Fleet, vms: list[VmScript]) -> None:
    receipts = fleet.publisher.publish_many([_event("start", vm) for vm in vms])
    for receipt in receipts:
        _require_applied(fleet, receipt)


def _events(fleet: Fleet, proxy: LibvirtProxy, vm: VmScript, runs: int) -> dict[str, Cost]:
    """Start a VM, start it again with other content, stop it, so many times."""
    seen: dict[str, list[Cost]] = {kind: [] for kind in MOST}
    for _ in range(runs):
        for step, kind in enumerate(("start", "start", "stop")):
            proxy.reset()
            seconds = _timed(partial(_publish, fleet, _event(kind, vm)))
            if step:
                seen[kind].append(Cost(sum(proxy.calls.values()), proxy.received, seconds))
    return {
        kind: Cost(
            statistics.fmean(cost.calls for cost in costs),
            statistics.fmean(cost.size for cost in costs),
            statistics.median(cost.seconds for cost in costs),
        )
        for kind, costs in seen.items()
    }


def _event(kind: str, vm: VmScript) -> dict[str, object]:
    guest = {"guest": {"user_data": {"text": f"#!/bin/sh\necho {uuid.uuid4()}\n"}}} if kind == "start" else {}
    return vm.event(kind, hypervisor="kvm", host=HOST, **guest)


def _publish(fleet: Fleet, event: dict[str, object]) -> None:
    _require_applied(fleet, fleet.publisher.publish(event))


def _require_applied(fleet: Fleet, receipt: Receipt) -> None:
    outcome = fleet.publisher.wait(receipt, _PATIENCE)
    if outcome is None or outcome.status is not Status.APPLIED:
        raise RuntimeError(f"the measured event came to {outcome}")


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _define(host: LibvirtHost, pool: Path) -> VmScript:
    vm = VmScript()
    root = pool / f"{vm.uuid}.raw"
    root.write_bytes(bytes(4096))
    disks = _DISK.format("disk", f"<source file='{root}'/>", "vda", "virtio", "")
    disks += _DISK.format("cdrom", "", "hdd", "ide", "<readonly/>")
    host.define_domain(
        f"<domain type='qemu'><name>{vm.uuid}</name><uuid>{vm.uuid}</uuid><memory unit='MiB'>32</memory><os>"
        f"<type arch='x86_64' machine='pc'>hvm</type></os><devices>{disks}</devices></domain>"
    )
    return vm


def _image_bytes(fleet: Fleet, directory: Path, vm: VmScript) -> int:
    _publish(fleet, _event("start", vm))
    return next((directory / "pool" / "configdrive").rglob(f"*.{vm.uuid}.*.iso")).stat().st_size


class ByHand:
    """What somebody would write for this one purpose: upload, read back, exchange the medium, delete the old one.

    Args:
        host: the rig, for its libvirt.
        uri: by which it is reached.
        vms: whose drives.
        size: bytes of an image.
    """

    def __init__(self, host: LibvirtHost, uri: str, vms: list[VmScript], size: int) -> None:
        import libvirt  # noqa: PLC0415  # an extra

        self.vms = vms
        self._libvirt = libvirt
        self._folder = host.directory.parent / "by-hand"
        self._connections = [libvirt.open(uri) for _ in range(THREADS if len(vms) > 1 else 1)]
        self._data = os.urandom(size)
        self._old: dict[str, libvirt.virStorageVol] = {}

    def start(self, vm: VmScript) -> None:
        """Give one VM a new image."""
        connection = self._connections[hash(vm.uuid) % len(self._connections)]
        pool = connection.storagePoolLookupByName("by-hand")
        name, size = f"{uuid.uuid4()}.iso", len(self._data)
        volume = pool.createXML(
            f"<volume><name>{name}</name><capacity unit='bytes'>{size}</capacity>"
            "<target><format type='raw'/></target></volume>",
            0,
        )
        stream = connection.newStream(0)
        volume.upload(stream, 0, size, 0)
        for first in range(0, size, _CHUNK):
            stream.send(self._data[first : first + _CHUNK])
        stream.finish()
        back, stream = b"", connection.newStream(0)
        volume.download(stream, 0, 0, 0)
        while chunk := stream.recv(_CHUNK):
            back += chunk
        stream.finish()
        if back != self._data:
            raise RuntimeError("it reads back otherwise")
        source = f"<source file='{self._folder / name}'/>"
        element = _DISK.format("cdrom", source, "hdd", "ide", "<readonly/>")
        connection.lookupByUUIDString(vm.uuid).updateDeviceFlags(element, self._libvirt.VIR_DOMAIN_AFFECT_CONFIG)
        old, self._old[vm.uuid] = self._old.get(vm.uuid), volume
        if old is not None:
            old.delete(0)

    def close(self) -> None:
        """Close the connections."""
        self._old.clear()
        for connection in self._connections:
            connection.close()
