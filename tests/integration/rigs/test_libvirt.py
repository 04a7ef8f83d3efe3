from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rigs import RigUnavailable
from rigs.guest import Disk, domain_xml
from rigs.libvirt import LibvirtHost
from tests.integration.rigs.conftest import gone
from tests.support import require_rig, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from rigs.guest import GuestKernel

libvirt = pytest.importorskip("libvirt")


def hostname(uri: str) -> str:
    connection = libvirt.open(uri)
    try:
        return str(connection.getHostname())
    finally:
        connection.close()


def process_ids(vm_uuid: str) -> list[int]:
    """Return the process ids of a guest's QEMU: one, or none."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"-uuid" in command and vm_uuid.encode() in command:
            found.append(int(entry.name))
    return found


def test_pools_and_domains_outlive_the_host_and_touch_no_other_libvirt(tmp_path: Path, guest: GuestKernel) -> None:
    with require_rig():
        host = LibvirtHost(tmp_path / "host", "kvm-7")
        host.start()
    with host:
        host.define_pool("rig-pool", tmp_path / "pool")
        disk = host.create_disk("rig-pool", "root.qcow2")
        assert disk == tmp_path / "pool" / "root.qcow2"
        vm_uuid = uuid.uuid4()
        xml = domain_xml("rig-vm", vm_uuid, guest, tmp_path / "console", disks=[Disk("vda", "virtio", disk, "qcow2")])
        assert host.define_domain(xml) == "rig-vm"
        for system in ("/etc/libvirt/qemu/rig-vm.xml", "/etc/libvirt/storage/rig-pool.xml"):
            assert not Path(system).exists()
        host.stop()
        assert not host.running
        with pytest.raises(libvirt.libvirtError):
            hostname(host.uri)
        host.start()
        with host.connection() as connection:
            assert connection.lookupByUUIDString(str(vm_uuid)).name() == "rig-vm"
            assert connection.storagePoolLookupByName("rig-pool").isActive()
            assert connection.getHostname() == "kvm-7"
            assert f"<uuid>{host.uuid}</uuid>" in connection.getCapabilities()


def test_without_root_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with require_rig():
        host = LibvirtHost(tmp_path / "host")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(RigUnavailable, match="needs root"), host:
        pass


def test_everything_dies_with_the_process_that_started_it(
    tmp_path: Path, guest: GuestKernel, killed_after: Callable[..., list[int]]
) -> None:
    with require_rig():
        host = LibvirtHost(tmp_path / "host")
        host.start()
        host.stop()
    script = """
import pathlib, sys, time
from tests.integration.rigs.test_libvirt import process_ids
from rigs.libvirt import LibvirtHost
host = LibvirtHost(pathlib.Path(sys.argv[1]))
host.start()
with host.connection() as connection:
    connection.createXML(sys.argv[2])
print(host._daemon.pid, *process_ids(sys.argv[3]), sep="\\n", end="\\n\\n", flush=True)
time.sleep(60)
"""
    vm_uuid = str(uuid.uuid4())
    xml = domain_xml("vm", vm_uuid, guest, host.directory / "console")
    pids = killed_after(script, str(host.directory), xml, vm_uuid)
    assert len(pids) == 2
    wait_until(lambda: all(map(gone, pids)), "the end of everything", timeout=5)
