"""Everything that can break on the way to a host comes out as the fleet's own error, soon, and nothing is printed."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from configdrive.errors import FleetError, PermanentCode, TransientCode
from configdrive.model import HostName, Place, PowerState, StorageName, StoredImage
from configdrive.ports import Inserted
from rigs.certificates import Certificates
from tests.contract.rig import failure_of, image_name, make_image, new_vm, verbs
from tests.integration.kvm.cloud import disk
from tests.support import wait_until
from workers.hypervisors.kvm.sessions import Link

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from configdrive.errors import Code
    from rigs.libvirt import LibvirtHost
    from rigs.sshd import SshServer
    from tests.integration.kvm.cloud import Cloud
    from tests.integration.kvm.conftest import MakeDriver
    from workers.hypervisors.kvm.driver import KvmDriver

HOST = HostName("h1")
SECOND = Place(StorageName("second"), HOST)
CACHE = Place(StorageName("host-cache"), HOST)


def codes(driver: KvmDriver, place: Place, target: Place) -> set[Code | None]:
    vm = new_vm("kvm", HOST)
    failures = [failure_of(verb) for verb in verbs(driver, vm, make_image(vm), place, target).values()]
    bad = [finding for finding in driver.check(HOST) if not finding.ok]
    assert bad
    assert all(finding.detail and finding.remedy for finding in bad)
    return {None if failure is None else failure.code for failure in failures}


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port that accepts connections and never says anything, as a host behind a black hole."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        yield port


def test_a_closed_port_is_a_host_that_is_down(make_driver: MakeDriver, home: Place) -> None:
    driver = make_driver(uri="qemu+tcp://127.0.0.1:1/system")
    assert codes(driver, home, SECOND) == {TransientCode.HOST_UNREACHABLE}


def test_a_name_that_nobody_knows_is_a_host_that_is_down(kvm: LibvirtHost, make_driver: MakeDriver) -> None:
    pki = kvm.certificates.directory
    driver = make_driver(uri=f"qemu+tls://no-such-host.invalid/system?pkipath={pki}", call_timeout=5)
    vm = new_vm("kvm", HOST)
    failure = failure_of(lambda: driver.observe(vm))
    assert failure is not None
    assert failure.code is TransientCode.HOST_UNREACHABLE


@pytest.mark.parametrize("scheme", ["qemu+tcp", "qemu+tls", "qemu+libssh2"])
def test_a_host_that_says_nothing_is_given_up_in_time(
    kvm: LibvirtHost, make_driver: MakeDriver, ssh_table: dict[str, object], nobody: int, scheme: str
) -> None:
    query = f"?pkipath={kvm.certificates.directory}" if scheme == "qemu+tls" else ""
    driver = make_driver(uri=f"{scheme}://127.0.0.1:{nobody}/system{query}", ssh=ssh_table, call_timeout=0.5)
    vm = new_vm("kvm", HOST)
    failure = failure_of(lambda: driver.observe(vm))
    assert failure is not None
    assert failure.code is TransientCode.HOST_UNREACHABLE
    assert "0.5 s" in failure.detail


def test_an_sshd_that_says_nothing_is_given_up_in_time(
    cloud: Cloud, make_driver: MakeDriver, ssh_table: dict[str, object], nobody: int
) -> None:
    vm = cloud.define()
    driver = make_driver(ssh={**ssh_table, "port": nobody}, call_timeout=0.5)
    for verb in (lambda: driver.upload(vm, make_image(vm), CACHE), lambda: driver.observe(vm, [CACHE])):
        failure_of(verb)
    failure = failure_of(lambda: driver.upload(vm, make_image(vm), CACHE))
    assert failure is not None
    assert failure.code is TransientCode.HOST_UNREACHABLE
    assert driver.observe(vm, [CACHE]).unreachable == (CACHE,)


def test_a_libvirtd_that_hangs_is_given_up_in_time_and_works_again_afterwards(
    cloud: Cloud, make_driver: MakeDriver, home: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.hypervisors.kvm.sessions.REST_SECONDS", 0.5)
    vm = cloud.define(disk(None, "hdd", "ide"), running=True)
    driver = make_driver(call_timeout=1.5)  # below what gives a silent host a rest
    driver.upload(vm, make_image(vm), home)
    cloud.host.pause()
    try:
        for verb in (lambda: driver.observe(vm), lambda: driver.attach(vm, image_name(vm), home)):
            failure = failure_of(verb)
            assert failure is not None
            assert failure.code is TransientCode.HOST_UNREACHABLE
    finally:
        cloud.host.resume()
    # A slow machine's opening may have waited so long that the host is given a rest.
    wait_until(lambda: failure_of(lambda: driver.attach(vm, image_name(vm), home)) is None, "the host", timeout=40)
    assert driver.observe(vm).drive == Inserted(image_name(vm), home)


def test_a_link_that_dies_in_the_middle_of_a_change_is_broken_by_keepalive(
    cloud: Cloud, make_driver: MakeDriver, monkeypatch: pytest.MonkeyPatch, home: Place
) -> None:
    """A change may take 40 s. With 5 s for a call, keepalives go every second, and the third in vain is the end."""
    vm = cloud.define(disk(None, "hdd", "ide"), running=True)
    driver = make_driver(call_timeout=5)
    driver.upload(vm, make_image(vm), home)
    change = Link.change

    def hanging(self: Link, *arguments: object) -> object:
        cloud.host.pause()
        return change(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Link, "change", hanging)
    try:
        failure = failure_of(lambda: driver.attach(vm, image_name(vm), home))
    finally:
        cloud.host.resume()
    assert failure is not None
    assert failure.code is TransientCode.HOST_UNREACHABLE


def test_tls_works_and_a_stranger_s_authority_is_refused(
    kvm: LibvirtHost, cloud: Cloud, make_driver: MakeDriver, home: Place, tmp_path: Path
) -> None:
    vm = cloud.define(disk(None, "hdd", "ide"))
    driver = make_driver(uri=kvm.tls_uri)
    driver.upload(vm, make_image(vm), home)
    driver.attach(vm, image_name(vm), home)
    assert driver.observe(vm).drive == Inserted(image_name(vm), home)

    (tmp_path / "pki").mkdir()
    others = Certificates.make(tmp_path / "pki", "kvm-1")
    stranger = make_driver(uri=f"qemu+tls://127.0.0.1:{kvm.tls_port}/system?pkipath={others.directory}")
    failure = failure_of(lambda: stranger.observe(vm))
    assert failure is not None
    assert failure.code in {PermanentCode.ACCESS_DENIED, TransientCode.HOST_UNREACHABLE}


def test_libssh2_works_and_an_unknown_host_key_or_a_wrong_key_is_refused(
    cloud: Cloud, make_driver: MakeDriver, ssh: SshServer, ssh_table: dict[str, object], tmp_path: Path
) -> None:
    vm = cloud.define()
    uri = f"qemu+libssh2://{ssh.user}@{ssh.host}:{ssh.port}/system"
    assert make_driver(uri=uri, ssh=ssh_table).observe(vm).power is PowerState.HALTED

    empty = tmp_path / "known_hosts"
    empty.touch()
    other = tmp_path / "changed"
    line = ssh.make_key(tmp_path / "host").with_suffix(".pub").read_text().split(maxsplit=2)
    other.write_text(f"[{ssh.host}]:{ssh.port} {line[0]} {line[1]}\n")
    for changed in (
        {"known_hosts": str(empty)},
        {"known_hosts": str(other)},
        {"key_file": str(ssh.make_key(tmp_path / "user"))},
    ):
        refused = make_driver(uri=uri, ssh={**ssh_table, **changed})
        failure = failure_of(lambda driver=refused: driver.observe(vm))  # type: ignore[misc]
        assert failure is not None
        assert failure.code is PermanentCode.ACCESS_DENIED, changed
        by_sftp = make_driver(ssh={**ssh_table, **changed})
        failure = failure_of(lambda driver=by_sftp: driver.upload(vm, make_image(vm), CACHE))  # type: ignore[misc]
        assert failure is not None
        assert failure.code is PermanentCode.ACCESS_DENIED, changed
        assert empty.read_text() == ""


def test_tls_files_that_are_missing_here_are_reported(make_driver: MakeDriver, tmp_path: Path) -> None:
    driver = make_driver(uri=f"qemu+tls://127.0.0.1/system?pkipath={tmp_path}")
    failure = failure_of(lambda: driver.observe(new_vm("kvm", HOST)))
    assert failure is not None
    assert failure.code is PermanentCode.MISCONFIGURED
    assert "pkipath" in failure.remedy


@pytest.mark.parametrize("field", ["key_file", "known_hosts"])
def test_a_file_that_is_missing_here_is_named(
    cloud: Cloud, make_driver: MakeDriver, ssh_table: dict[str, object], field: str
) -> None:
    vm = cloud.define()
    driver = make_driver(ssh={**ssh_table, field: "/no/such/file"})
    failure = failure_of(lambda: driver.upload(vm, make_image(vm), CACHE))
    assert failure is not None
    assert failure.code is PermanentCode.MISCONFIGURED
    assert failure.detail.startswith(f"kvm.hosts.h1.ssh.{field}:")


def test_a_key_that_is_none_is_reported(
    cloud: Cloud, make_driver: MakeDriver, ssh_table: dict[str, object], tmp_path: Path
) -> None:
    vm = cloud.define()
    (tmp_path / "key").write_text("no key")
    driver = make_driver(ssh={**ssh_table, "key_file": str(tmp_path / "key")})
    failure = failure_of(lambda: driver.upload(vm, make_image(vm), CACHE))
    assert failure is not None
    assert failure.code is PermanentCode.MISCONFIGURED


def cut(port: int) -> None:
    """Break every connection of this process to a port of the loopback address, as a network would."""
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if not str(entry.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as other:
                if other.family == socket.AF_INET and other.getpeername()[1] == port:
                    other.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue


@pytest.mark.parametrize("power", [PowerState.HALTED, PowerState.RUNNING])
def test_a_connection_that_breaks_before_any_call_leaves_nothing_that_doing_it_again_does_not_mend(
    cloud: Cloud, make_driver: MakeDriver, monkeypatch: pytest.MonkeyPatch, home: Place, power: PowerState
) -> None:
    """Each verb, broken before its first call to libvirt, then before its second, and so on until it gets through.

    Of a running VM these that look at it: the others make the same calls as for one that is off.
    """
    cloud.add_pool("second", cloud.pool.parent / f"second-{power}")
    vm = cloud.define(disk(None, "hdb", "ide"), running=power is PowerState.RUNNING)
    driver = make_driver(cd_targets=["hdb"])
    old, image = make_image(vm, 1), make_image(vm, 2)
    driver.upload(vm, old, home)
    driver.attach(vm, old.name, home)
    wait, left = Link._wait, [0]

    def breaking(self: Link, limit: float, function: Callable[[], object]) -> object:
        left[0] -= 1
        if left[0] == 0:
            cut(cloud.host.port)
            wait_until(lambda: not self.connection.isAlive(), "the connection to break", timeout=5, interval=0.001)
        return wait(self, limit, function)

    broken = {}
    for name, verb in verbs(driver, vm, image, home, SECOND).items():
        if power is PowerState.RUNNING and name in {"upload", "copy", "survey"}:
            verb()
            continue
        for step in range(1, 200):
            driver.observe(vm)  # a connection that rests, so that the first call is always the same
            monkeypatch.setattr(Link, "_wait", breaking)
            left[0] = step
            failure = failure_of(verb)
            monkeypatch.setattr(Link, "_wait", wait)
            if left[0] > 0:  # it got through with fewer calls
                break
            assert failure is None or failure.code is TransientCode.HOST_UNREACHABLE, (name, step, failure)
            broken[name] = step
    assert min(broken.values()) > 2, broken
    seen = driver.observe(vm, [SECOND])
    assert not isinstance(seen.drive, Inserted)
    where = {(stored.name, stored.place.storage) for stored in seen.images}
    assert where == {(old.name, home.storage), (image.name, SECOND.storage)}


def test_nothing_is_printed(
    cloud: Cloud, make_driver: MakeDriver, home: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    driver = make_driver(uri="qemu+tcp://127.0.0.1:1/system")
    vm = cloud.define()
    failure_of(lambda: driver.observe(vm))
    well = make_driver()
    with pytest.raises(FleetError):
        well.attach(replace(vm, uuid=new_vm("kvm", HOST).uuid), image_name(vm), home)
    well.delete(vm, StoredImage(image_name(vm), home))
    assert capfd.readouterr() == ("", "")
