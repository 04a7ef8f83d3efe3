"""Many events on ten domains: each succeeds, and nothing more is held than before.

Five domains run and five are halted; half are reached through libvirt volumes, half by SFTP. So every kind of
connection that a worker keeps is used all the time.
"""

import json
import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest

from configdrive.contract.outcome import Status
from configdrive.model import HostName, HypervisorName, ImageName, InstanceName, Vm, VmUuid
from rigs.cloud import VmScript
from rigs.fleet import Fleet
from rigs.sshd import SshServer
from tests.e2e.kvm.site import LOCAL, Site
from tests.integration.kvm.cloud import ROOT_DISK, disk
from tests.support import require_rig

DOMAINS = 10
ROUNDS = 8
WARM_UP = 3
GUEST = {"password": "swordfish", "user_data": {"text": "#!/bin/sh\necho hello\n" * 100}}
VOLUMES, SFTP = "h1", "h1-sftp"

MORE, MORE_KIB = 4, 6 * 1024
"""What may be added by chance: descriptors, threads, KiB of memory (of both processes), and times as slow."""


class Held(NamedTuple):
    """What the processes hold: file descriptors and threads, resident memory in KiB."""

    descriptors: int
    threads: int
    kib: int


def held_by(pids: list[int]) -> Held:
    """Add up what these processes hold now."""
    texts = [Path(f"/proc/{pid}/status").read_text("ascii") for pid in pids]
    threads, kib = (sum(int(text.split(f"\n{word}:")[1].split()[0]) for text in texts) for word in ("Threads", "VmRSS"))
    return Held(sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids), threads, kib)


@pytest.fixture
def fleet_of_two_routes(hosts: Site, tmp_path: Path) -> Iterator[Fleet]:
    host = hosts.hosts["h1"]
    with require_rig():
        ssh = SshServer(tmp_path / "ssh", within=host.within)
        ssh.start()
    cache = json.dumps(str(hosts.directory / "cache"))
    inventory = (
        f"[kvm.hosts.{VOLUMES}]\nuri = {json.dumps(host.uri)}\ncache_directory = {cache}\nstorage_route = 'volume'\n"
        f"[kvm.hosts.{SFTP}]\nuri = {json.dumps(host.uri)}\ncache_directory = {cache}\nstorage_route = 'sftp'\n"
        f"[kvm.hosts.{SFTP}.ssh]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in ssh.table.items())
    )
    with ssh, Fleet(tmp_path / "fleet", inventory, hypervisor="kvm", settings={"concurrency": 2}) as fleet:
        yield fleet


def test_many_events_leave_nothing_behind(
    hosts: Site, fleet_of_two_routes: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = fleet_of_two_routes
    vms = [(VmScript(), VOLUMES if number % 2 else SFTP) for number in range(DOMAINS)]
    for number, (script, _) in enumerate(vms):
        define(hosts, script, running=number < DOMAINS // 2)
    workers = fleet.workers[0].children()

    seconds = [play_round(fleet, vms) for _ in range(WARM_UP)]
    warm = held_by(workers)
    seconds += [play_round(fleet, vms) for _ in range(ROUNDS - WARM_UP)]
    end = held_by(workers)

    assert fleet.workers[0].children() == workers, "no process was replaced"
    early, late = list(chain(*seconds[WARM_UP : WARM_UP + 2])), list(chain(*seconds[-2:]))
    with capsys.disabled():
        sys.stdout.write(
            f"\n[measured] {2 * DOMAINS * ROUNDS} events on {DOMAINS} domains, two processes; from the "
            f"{2 * DOMAINS * WARM_UP}th event to the last: descriptors {warm.descriptors} -> {end.descriptors}, "
            f"threads {warm.threads} -> {end.threads}, memory {warm.kib / 1024:.1f} -> {end.kib / 1024:.1f} MiB, "
            f"median of an event among {DOMAINS} at once {1000 * median(early):.0f} -> {1000 * median(late):.0f} ms\n"
        )
    assert end.descriptors <= warm.descriptors + MORE
    assert end.threads <= warm.threads + MORE
    assert end.kib <= warm.kib + MORE_KIB
    left = hosts.hosts["h1"].outside(hosts.directory / LOCAL / "configdrive").rglob("*.iso")
    owners = {name.vm_uuid for path in left if (name := ImageName.parse(path.name))}
    assert not owners & {script.uuid for script, _ in vms}


def define(site: Site, script: VmScript, *, running: bool) -> None:
    """Define a domain with an empty CD drive, which waits for a key."""
    vm = Vm(VmUuid(script.uuid), InstanceName(script.name), HypervisorName("kvm"), HostName(VOLUMES))
    root = site.directory / LOCAL / f"{script.uuid}.root"
    site.hosts["h1"].outside(root).write_bytes(ROOT_DISK)
    element = disk(root, "vda", "virtio", "disk")
    site.clouds["h1"].define(disk(None, "hdd", "ide"), root=element, vm=vm, running=running)


def play_round(fleet: Fleet, vms: list[tuple[VmScript, str]]) -> list[float]:
    """Start all VMs at once, then stop them; returns the seconds from the publishing to each outcome."""
    took = []
    for kind, data in (("start", {"guest": GUEST}), ("stop", {})):
        events = [script.event(kind, hypervisor="kvm", host=host, **data) for script, host in vms]
        begun = time.time()
        receipts = fleet.publisher.publish_many(events)
        outcomes = [fleet.publisher.wait(receipt, 300) for receipt in receipts]
        assert [(one.status, one.attempts) for one in outcomes if one] == [(Status.APPLIED, 1)] * len(vms), outcomes
        took += [one.at - begun for one in outcomes if one]
    return took
