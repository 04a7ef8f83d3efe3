"""Connections: kept, limited, opened again, each process its own, and a caller that is interrupted gets away."""

import asyncio
import gc
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import libvirt
import pytest
from celery.exceptions import SoftTimeLimitExceeded

from configdrive.errors import TransientCode
from configdrive.model import Place, PowerState, VmUuid
from configdrive.ports import Connections
from tests.contract.rig import make_image
from tests.integration.kvm.cloud import CACHE, HOST, Cloud, MakeDriver
from tests.support import error_of, wait_until
from tests.unit.workers.hypervisors.kvm.test_faults import failed
from workers.hypervisors.kvm.driver import KvmDriver
from workers.hypervisors.kvm.sessions import UNTESTED_SECONDS, HostLinks, Link
from workers.hypervisors.kvm.vms import Domain, find_domain

ROOT = Path(__file__).parents[3]

# A process that has used libvirt and SFTP, and then forks: both go on, each on connections of its own.
FORKING = """
import json, sys, time
from multiprocessing import get_context
from tests.contract.rig import make_image, new_vm
from tests.integration.kvm.cloud import CACHE, HOST
from workers.hypervisors.kvm.driver import KvmDriver
driver = KvmDriver.from_inventory({"hosts": {HOST: json.loads(sys.argv[1])}})
def work(vm, *generations):
    for generation in generations:
        driver.upload(vm, make_image(vm, generation), CACHE)
        assert len(driver.observe(vm, [CACHE]).images) >= 1
def child():
    work(new_vm("kvm", HOST), 1, 2, 3)
    driver.close()
work(vm := new_vm("kvm", HOST), 1)
children = [get_context("fork").Process(target=child) for _ in range(3)]
for generation, process in enumerate(children, start=2):
    process.start()
    work(vm, generation)
for process in children:
    process.join()
assert [process.exitcode for process in children] == [0] * 3
time.sleep(1.2)  # then the kept connection is tried before it is used
work(vm, 9)
driver.close()
print("well")
"""


def clients(cloud: Cloud) -> int:
    """Count the connections that libvirtd serves; one lives as long as a traceback holds a domain of it."""
    gc.collect()
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    local = f":{cloud.host.port:04X}"
    return sum(1 for row in rows if row.split()[1].endswith(local) and row.split()[3] == "01")


def test_there_are_never_more_connections_than_the_inventory_allows(cloud: Cloud) -> None:
    wait_until(lambda: clients(cloud) == 1, "earlier connections to end", timeout=10)  # the test's own
    links = HostLinks(HOST, cloud.host.uri, 20, 2)
    served = threading.Event()

    def third() -> None:
        with links.borrow():
            served.set()

    with links.borrow():
        with links.borrow():
            waiting = threading.Thread(target=third)
            waiting.start()
            assert not served.wait(0.3)
            assert clients(cloud) == 3
            assert links.tally.now.open == 2
        assert served.wait(300)
        waiting.join()
        assert clients(cloud) == 3
    links.close()
    assert links.tally.now == Connections(HOST, "libvirt", open=0, reopened=0)


@pytest.mark.parametrize("rest", [0.0, UNTESTED_SECONDS + 0.1])
def test_a_libvirtd_that_was_started_anew_is_not_noticed(cloud: Cloud, driver: KvmDriver, rest: float) -> None:
    vm = cloud.define()
    driver.observe(vm)
    with cloud.unreachable():
        pass
    time.sleep(rest)
    assert driver.observe(vm).power is PowerState.HALTED
    assert list(driver.connections()) == [Connections(HOST, "libvirt", open=1, reopened=1)]


def test_a_host_that_is_silent_makes_only_the_first_wait(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.hypervisors.kvm.sessions.SILENT_SECONDS", 0.2)
    monkeypatch.setattr("workers.hypervisors.kvm.sessions.REST_SECONDS", 3600.0)
    opened: list[Link] = []
    opening = Link.open

    def counted(link: Link) -> None:
        opened.append(link)
        opening(link)

    monkeypatch.setattr(Link, "open", counted)
    links = HostLinks(HOST, cloud.host.uri, 0.3, 2)
    with cloud.silent():
        for number in range(5):
            failure = error_of(links.borrow().__enter__)
            assert failure.code is (TransientCode.DEFERRED if number else TransientCode.HOST_UNREACHABLE)
    assert len(opened) == 1
    links.close()


def test_a_libvirtd_that_ends_while_it_is_looked_at_is_looked_at_again(
    cloud: Cloud, driver: KvmDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = cloud.define()
    looked = []

    def find(link: Link, uuid: VmUuid) -> Domain | None:
        looked.append(link)
        if len(looked) == 1:
            with cloud.unreachable():
                pass
        return find_domain(link, uuid)

    monkeypatch.setattr("workers.hypervisors.kvm.driver.find_domain", find)
    assert driver.observe(vm).power is PowerState.HALTED
    assert len(set(looked)) == len(looked) == 2


def test_a_daemon_behind_libvirtd_that_was_started_anew_is_not_noticed(
    cloud: Cloud, driver: KvmDriver, home: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where virtqemud and virtstoraged are two, the one never again opens its link to the other for a connection."""
    vm = cloud.define()
    driver.observe(vm)
    asked: list[libvirt.virConnect] = []
    lookup = libvirt.virConnect.storagePoolLookupByTargetPath

    def lost_for_the_first(connection: libvirt.virConnect, path: str) -> libvirt.virStoragePool:
        asked.append(connection)
        if connection is asked[0]:
            text = "internal error: client socket is closed"
            raise failed(libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_FROM_RPC, text)
        return lookup(connection, path)

    monkeypatch.setattr(libvirt.virConnect, "storagePoolLookupByTargetPath", lost_for_the_first)
    for _ in range(2):
        assert driver.observe(vm).storage == home
    assert len(set(map(id, asked))) == 2


def test_a_forked_child_has_connections_of_its_own(cloud: Cloud, ssh_table: dict[str, object], tmp_path: Path) -> None:
    table = json.dumps({"uri": cloud.host.uri, "cache_directory": str(tmp_path / "cache"), "ssh": ssh_table})
    argv = [sys.executable, "-c", FORKING, table]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr


@pytest.fixture
def alarm() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Makes a call, in which the main thread is interrupted as by Celery's soft time limit."""

    def interrupt(_number: int, _frame: object) -> None:
        raise SoftTimeLimitExceeded

    def until(call: Callable[[], object]) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(SoftTimeLimitExceeded):
            call()

    before = signal.signal(signal.SIGALRM, interrupt)
    yield until
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_soft_time_limit_ends_the_wait_for_a_host_that_hangs(
    cloud: Cloud, make_driver: MakeDriver, alarm: Callable[[Callable[[], object]], None]
) -> None:
    driver, vm = make_driver(call_timeout=3600), cloud.define()
    driver.observe(vm)
    gc.collect()  # an exception that comes while Python frees other tests' connections would be swallowed
    with cloud.silent():
        alarm(lambda: driver.observe(vm))
    assert driver.observe(vm).power is PowerState.HALTED


def test_a_soft_time_limit_ends_the_wait_for_sftp(
    cloud: Cloud, make_driver: MakeDriver, ssh_table: dict[str, object], alarm: Callable[[Callable[[], object]], None]
) -> None:
    driver = make_driver(ssh=ssh_table)
    vm = cloud.new_vm()
    driver.upload(vm, make_image(vm), CACHE)
    sftp = driver._hosts[HOST].sftp
    assert sftp is not None

    async def forever(_client: object) -> None:
        await asyncio.sleep(3600)

    alarm(lambda: sftp.run(forever))
    driver.upload(vm, make_image(vm, 2), CACHE)


def test_connections_that_nobody_uses_are_closed_and_opened_again_when_they_are_needed(
    cloud: Cloud, make_driver: MakeDriver, ssh_table: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over SSH each one costs its host 27 MB."""
    monkeypatch.setattr("workers.driverkit.connections.IDLE_SECONDS", 2.0)
    driver = make_driver(ssh=ssh_table)
    vm = cloud.new_vm()
    for generation in (1, 2):
        driver.upload(vm, make_image(vm, generation), CACHE)
        assert [one.open for one in driver.connections()] == [1, 1]
        wait_until(lambda: sum(one.open for one in driver.connections()) == 0, "them to be closed", timeout=20)
    assert [one.reopened for one in driver.connections()] == [0, 0], "none was lost"


def test_one_opening_that_waits_in_vain_closes_no_host_that_other_connections_reach(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.hypervisors.kvm.sessions.SILENT_SECONDS", 0.0)
    links = HostLinks(HOST, cloud.host.uri, 20, 4)
    with links.borrow() as works:
        monkeypatch.setattr(links, "_uri", "qemu+tcp://127.0.0.1:1/system")
        assert error_of(links.borrow().__enter__).code is TransientCode.HOST_UNREACHABLE
        assert works.call(works.connection.isAlive)
    with links.borrow() as again:
        assert again is works
    links.close()


def test_no_thread_is_left_when_the_driver_is_closed(cloud: Cloud, driver: KvmDriver) -> None:
    def mine() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name == "libvirt-h1"}

    before = mine()
    driver.observe(cloud.define())
    (new,) = mine() - before
    driver.close()
    wait_until(lambda: not new.is_alive(), "the connection's thread to end", timeout=5)
