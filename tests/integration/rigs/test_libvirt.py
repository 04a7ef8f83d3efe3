from __future__ import annotations

import os
import socket
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rigs import RigUnavailable
from rigs.certificates import Certificates
from rigs.guest import Disk, domain_xml
from rigs.libvirt import LibvirtHost
from rigs.sshd import SshServer
from tests.integration.rigs.conftest import gone
from tests.support import require_rig, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rigs.guest import GuestKernel

libvirt = pytest.importorskip("libvirt")


@pytest.fixture(scope="module")
def ssh(host: LibvirtHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with require_rig():
        server = SshServer(tmp_path_factory.mktemp("sshd"), within=host.within)
    with server:
        yield server


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


def test_it_is_reached_in_every_way_that_libvirt_offers(host: LibvirtHost, ssh: SshServer) -> None:
    ways = (host.uri, host.unix_uri, host.tls_uri, host.ssh_uri(ssh), host.ssh_uri(ssh, "libssh"))
    assert [hostname(uri) for uri in ways] == [host.name] * len(ways)


def test_tls_refuses_a_client_of_another_authority(host: LibvirtHost, tmp_path: Path) -> None:
    stranger = Certificates.make(tmp_path / "pki", host.name)
    (stranger.directory / "cacert.pem").write_bytes((host.certificates.directory / "cacert.pem").read_bytes())
    with pytest.raises(libvirt.libvirtError):
        hostname(host.tls_uri.replace(str(host.certificates.directory), str(stranger.directory)))


def test_ssh_refuses_another_host_key_and_another_user_key(host: LibvirtHost, ssh: SshServer, tmp_path: Path) -> None:
    other = ssh.make_key(tmp_path / "other")
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"[{ssh.host}]:{ssh.port} {other.with_suffix('.pub').read_text()}")
    uri = host.ssh_uri(ssh)
    with pytest.raises(libvirt.libvirtError, match="HOST KEY VERIFICATION FAILED"):
        hostname(uri.replace(str(ssh.known_hosts), str(known_hosts)))
    with pytest.raises(libvirt.libvirtError, match="authentication"):
        hostname(uri.replace(str(ssh.key_file), str(other)))
    assert known_hosts.read_text().count("\n") == 1


def test_two_hosts_share_storage_except_what_is_private(tmp_path: Path, host: LibvirtHost) -> None:
    private = tmp_path / "local"
    with require_rig():
        second = LibvirtHost(tmp_path / "host", "kvm-2", private=[private])
        second.start()
    with second:
        assert (hostname(second.uri), second.uuid) != (hostname(host.uri), host.uuid)
        for each in (host, second):
            each.define_pool("shared", tmp_path / "shared")
            each.define_pool("local", private)
        shared, local = second.create_disk("shared", "a.qcow2"), second.create_disk("local", "b.qcow2")
        assert (local, second.outside(local)) == (private / "b.qcow2", tmp_path / "host" / "private" / "0" / "b.qcow2")
        assert second.outside(local).exists()
        assert not local.exists()
        with host.connection() as connection:
            for pool in ("shared", "local"):
                connection.storagePoolLookupByName(pool).refresh()
            assert connection.storageVolLookupByPath(str(shared)).name() == "a.qcow2"
            assert connection.storagePoolLookupByName("local").numOfVolumes() == 0


def test_ssh_to_a_host_sees_its_private_paths(tmp_path: Path) -> None:
    private = tmp_path / "cache"
    with require_rig():
        host = LibvirtHost(tmp_path / "host", private=[private])
        ssh = SshServer(tmp_path / "sshd", within=host.within)
        host.start()
    with host, ssh:
        (host.outside(private) / "seen").touch()
        client = ["ssh", "-F", "none", "-i", str(ssh.key_file), "-p", str(ssh.port), f"{ssh.user}@{ssh.host}"]
        options = ["-o", f"UserKnownHostsFile={ssh.known_hosts}", "-o", "BatchMode=yes"]
        done = subprocess.run(
            [*client, *options, f"hostname; ls {private}"], check=True, capture_output=True, timeout=20
        )
        assert done.stdout.split() == [host.name.encode(), b"seen"]


def test_guests_outlive_libvirtd_and_end_with_the_host(tmp_path: Path, guest: GuestKernel) -> None:
    with require_rig():
        host = LibvirtHost(tmp_path / "host")
        host.start()
    with host:
        vm_uuid = str(uuid.uuid4())
        name = host.define_domain(domain_xml("vm", vm_uuid, guest, host.directory / "console"))
        with host.connection() as connection:
            connection.lookupByName(name).create()
        [pid] = process_ids(vm_uuid)
        host.kill_daemon()
        assert not host.running
        host.start_daemon()
        with host.connection() as connection:
            assert connection.lookupByName(name).isActive()
        host.stop()
        assert gone(pid)


def test_a_paused_libvirtd_hangs_and_goes_on(host: LibvirtHost) -> None:
    host.pause()
    assert host.running
    with pytest.raises(TimeoutError), socket.create_connection(("127.0.0.1", host.port), timeout=0.3) as plain:
        plain.recv(1)
    host.resume()
    assert hostname(host.uri) == host.name


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
