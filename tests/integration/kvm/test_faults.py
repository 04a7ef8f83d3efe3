"""Everything that can break on the way to a host comes out as the fleet's own error, soon, and nothing is printed."""

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from configdrive.errors import Code, PermanentCode, TransientCode
from configdrive.model import Place, PowerState, StoredImage
from configdrive.ports import Inserted
from rigs.certificates import Certificates
from rigs.libvirt import LibvirtHost
from rigs.sshd import SshServer
from tests.contract.rig import failure_of, image_name, make_image, new_vm, verbs
from tests.integration.kvm.cloud import CACHE, HDD, HOST, Cloud, MakeDriver, disk, give, on_h1
from tests.support import error_of, wait_until
from workers.hypervisors.kvm.sessions import Link

SECOND = on_h1("second")


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port that accepts connections and never says anything, as a host behind a black hole."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        yield port


@pytest.mark.parametrize(
    ("uri", "code", "words"),
    [
        ("qemu+tcp://127.0.0.1:1/system", TransientCode.HOST_UNREACHABLE, "refused"),
        ("qemu+tls://no-such-host.invalid/system?pkipath={pki}", TransientCode.HOST_UNREACHABLE, ""),
        ("qemu+tcp://127.0.0.1:{nobody}/system", TransientCode.HOST_UNREACHABLE, "0.5 s"),
        ("qemu+tls://127.0.0.1:{nobody}/system?pkipath={pki}", TransientCode.HOST_UNREACHABLE, "0.5 s"),
        ("qemu+libssh2://127.0.0.1:{nobody}/system", TransientCode.HOST_UNREACHABLE, "0.5 s"),
        ("qemu+tls://127.0.0.1/system?pkipath=/etc", PermanentCode.MISCONFIGURED, "pkipath"),
    ],
)
def test_a_host_that_is_down_or_unknown_or_that_says_nothing_is_given_up_in_time(  # noqa: PLR0913, PLR0917 - cases
    kvm: LibvirtHost,
    make_driver: MakeDriver,
    ssh_table: dict[str, object],
    nobody: int,
    uri: str,
    code: Code,
    words: str,
) -> None:
    there = uri.format(nobody=nobody, pki=kvm.certificates.directory)
    driver = make_driver(uri=there, ssh=ssh_table, call_timeout=0.5)
    failure = error_of(driver.observe, new_vm("kvm", HOST))
    assert (failure.code, words in failure.detail + failure.remedy) == (code, True)
    bad = [finding for finding in driver.check(HOST) if not finding.ok]
    assert bad
    assert all(finding.detail and finding.remedy for finding in bad)


def test_an_sshd_that_says_nothing_is_given_up_in_time(
    cloud: Cloud, make_driver: MakeDriver, ssh_table: dict[str, object], nobody: int
) -> None:
    vm = cloud.define()
    driver = make_driver(ssh={**ssh_table, "port": nobody}, call_timeout=0.5)
    for _ in range(2):
        assert error_of(driver.upload, vm, make_image(vm), CACHE).code is TransientCode.HOST_UNREACHABLE
        assert driver.observe(vm, [CACHE]).unreachable == (CACHE,)


def test_a_libvirtd_that_hangs_is_given_up_in_time_and_works_again_afterwards(
    cloud: Cloud, make_driver: MakeDriver, home: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.hypervisors.kvm.sessions.REST_SECONDS", 0.5)
    vm = cloud.define(HDD, running=True)
    driver = make_driver(call_timeout=1.5)  # below what gives a silent host a rest
    driver.upload(vm, make_image(vm), home)
    with cloud.silent():
        assert error_of(driver.observe, vm).code is TransientCode.HOST_UNREACHABLE
        assert error_of(driver.attach, vm, image_name(vm), home).code is TransientCode.HOST_UNREACHABLE
    # A slow machine's opening may have waited so long that the host is given a rest.
    wait_until(lambda: failure_of(lambda: driver.attach(vm, image_name(vm), home)) is None, "the host", timeout=40)
    assert driver.observe(vm).drive == Inserted(image_name(vm), home)


def test_a_link_that_dies_in_the_middle_of_a_change_is_broken_by_keepalive(
    cloud: Cloud, make_driver: MakeDriver, monkeypatch: pytest.MonkeyPatch, home: Place
) -> None:
    """A change may take 40 s. With 5 s for a call, keepalives go every second, and the third in vain is the end."""
    vm = cloud.define(HDD, running=True)
    driver = make_driver(call_timeout=5)
    driver.upload(vm, make_image(vm), home)
    change = Link.change

    def hanging(self: Link, *arguments: object) -> object:
        cloud.host.pause()
        return change(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Link, "change", hanging)
    try:
        assert error_of(driver.attach, vm, image_name(vm), home).code is TransientCode.HOST_UNREACHABLE
    finally:
        cloud.host.resume()


def test_tls_works_and_a_stranger_s_authority_is_refused(
    kvm: LibvirtHost, cloud: Cloud, make_driver: MakeDriver, home: Place, tmp_path: Path
) -> None:
    vm = cloud.define(HDD)
    driver = make_driver(uri=kvm.tls_uri)
    give(driver, vm, home)
    assert driver.observe(vm).drive == Inserted(image_name(vm), home)

    (tmp_path / "pki").mkdir()
    others = Certificates.make(tmp_path / "pki", "kvm-1")
    stranger = make_driver(uri=f"qemu+tls://127.0.0.1:{kvm.tls_port}/system?pkipath={others.directory}")
    failure = error_of(stranger.observe, vm)
    assert failure.code in {PermanentCode.ACCESS_DENIED, TransientCode.HOST_UNREACHABLE}


@pytest.mark.parametrize(
    ("field", "content", "code"),
    [
        ("key_file", "none", PermanentCode.MISCONFIGURED),
        ("key_file", "no key", PermanentCode.MISCONFIGURED),
        ("key_file", "another", PermanentCode.ACCESS_DENIED),
        ("known_hosts", "none", PermanentCode.MISCONFIGURED),
        ("known_hosts", "", PermanentCode.ACCESS_DENIED),
        ("known_hosts", "another", PermanentCode.ACCESS_DENIED),
    ],
)
def test_a_file_of_ssh_s_that_is_not_right_is_reported_by_either_way_to_the_host(  # noqa: PLR0913, PLR0917 - cases
    cloud: Cloud, make_driver: MakeDriver, ssh: SshServer, tmp_path: Path, field: str, content: str, code: Code
) -> None:
    file = tmp_path / "file"
    if (field, content) == ("key_file", "another"):
        ssh.make_key(file)
    elif content == "another":
        algorithm, key, _ = ssh.make_key(tmp_path / "host").with_suffix(".pub").read_text().split(maxsplit=2)
        file.write_text(f"[{ssh.host}]:{ssh.port} {algorithm} {key}\n")
    elif content != "none":
        file.write_text(content)
    before = file.read_bytes() if file.exists() else None
    vm, driver = cloud.define(), make_driver(ssh={**ssh.table, field: str(file)})
    failure = error_of(driver.upload, vm, make_image(vm), CACHE)
    assert failure.code is code
    assert content != "none" or failure.detail.startswith(f"kvm.hosts.h1.ssh.{field}:")
    if code is PermanentCode.ACCESS_DENIED:
        uri = f"qemu+libssh2://{ssh.user}@{ssh.host}:{ssh.port}/system"
        assert make_driver(uri=uri, ssh=ssh.table).observe(vm).power is PowerState.HALTED
        assert error_of(make_driver(uri=uri, ssh={**ssh.table, field: str(file)}).observe, vm).code is code
        assert file.read_bytes() == before


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
    vm, well = cloud.define(), make_driver()
    error_of(make_driver(uri="qemu+tcp://127.0.0.1:1/system").observe, vm)
    error_of(well.attach, replace(vm, uuid=new_vm("kvm", HOST).uuid), image_name(vm), home)
    well.delete(vm, StoredImage(image_name(vm), home))
    assert capfd.readouterr() == ("", "")
