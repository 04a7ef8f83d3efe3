"""What real workers answer when Prometheus asks: every pool, killed children, a taken port, a Redis that is away."""

import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from configdrive.errors import TransientCode
from rigs.simulated.faults import Kill, Point
from rigs.worker import Worker
from tests.e2e.known_secrets import betrayed
from tests.e2e.site import QUICK, Site, new_vm
from tests.integration.metrics.asking import address_in, scrape
from tests.integration.metrics.conftest import Measured
from tests.support import require_rig, wait_until
from workers.cli.errors import ExitCode
from workers.hypervisors.simulated.inventory import Verb

LISTENS = "0A"  # in the kernel's table of sockets
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}|[0-9a-f]{32}")


def port_of(address: str) -> int:
    port = urlsplit(address).port
    assert port is not None
    return port


def socket_on(port: int) -> str:
    """Return what Linux calls the socket that listens on a port."""
    for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]:
        _, local, _, state, *_, inode = line.split()[:10]
        if local.endswith(f":{port:04X}") and state == LISTENS:
            return f"socket:[{inode}]"
    raise AssertionError(port)


def open_files(pid: int) -> set[str]:
    return {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}


def small_fleet(directory: Path, *options: str) -> Site:
    with require_rig():
        settings = {**QUICK, "concurrency": 1}
        return Site(directory / "site", settings=settings, options=["--metrics-port", "0", *options])


def test_everything_that_happened_is_counted(measured: Measured) -> None:
    def settled() -> bool:
        page = scrape(measured.worker)
        return page.sum("configdrive_events_total") == 4 and page.sum("configdrive_dead_letters") == 1

    wait_until(settled, "the last count", timeout=10, interval=0.1)
    page = scrape(measured.worker)

    here = {"hypervisor": "simulated", "event": "deploy"}
    assert page.sum("configdrive_events_total", **here, status="applied", code="") == 3
    assert page.sum("configdrive_events_total", **here, status="parked", code="access_denied") == 1
    assert page.sum("configdrive_attempts_total", **here) == 6
    assert page.sum("configdrive_retries_total", **here, code=TransientCode.HOST_UNREACHABLE) == 2
    assert page.sum("configdrive_attempts_lost_total") == 0
    assert page.sum("configdrive_attempt_seconds_count", **here) == 6
    assert 0 < page.sum("configdrive_attempt_seconds_sum", **here) < 60
    steps = {step: page.sum("configdrive_step_seconds_count", step=step) for step in ("observe", "build", "attach")}
    assert steps["observe"] == 6
    assert steps["build"] >= 4
    assert steps["attach"] >= 5
    assert page.sum("configdrive_step_errors_total", step="attach", code=TransientCode.HOST_UNREACHABLE) == 2
    assert page.sum("configdrive_step_errors_total", step="upload", code="access_denied") == 1
    assert page.sum("configdrive_events_in_work") == 0
    assert page.sum("configdrive_parked_vms") == 1
    assert 0 < page.sum("configdrive_oldest_parked_seconds") < 120
    assert page.sum("configdrive_pending_vms", queue="configdrive.simulated") == 0
    assert page.sum("configdrive_redis_up") == 1
    assert page.sum("configdrive_info", hypervisor="simulated") == 1


def test_the_answer_is_open_metrics_and_says_nothing_of_one_vm_or_event(measured: Measured) -> None:
    for address in (measured.worker, measured.sweeper):
        page = scrape(address)
        assert page.content_type.startswith("application/openmetrics-text")
        assert page.text.endswith("# EOF\n")
        assert not UUID.search(page.text)
        assert betrayed(page.text.encode()) == []
        assert str(measured.site.redis.port) not in page.text


def test_an_asker_of_the_older_format_gets_it_and_other_paths_are_not_there(measured: Measured) -> None:
    with urllib.request.urlopen(measured.worker, timeout=600) as answer:  # noqa: S310  # our own loopback address
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(measured.worker.removesuffix("metrics"), timeout=600)  # noqa: S310  # as above


def test_the_storage_sweeper_tells_what_it_found_and_what_waits(measured: Measured) -> None:
    wait_until(
        lambda: scrape(measured.sweeper).sum("configdrive_storage_sweep_rounds_total") >= 1, "a round", timeout=20
    )
    page = scrape(measured.sweeper)
    assert page.sum("configdrive_storage_sweep_images", why="in_drive") == 3
    assert page.sum("configdrive_storage_sweep_images", why="new") == 1
    assert page.sum("configdrive_storage_sweep_failed_total") == 0
    assert page.sum("configdrive_storage_sweep_hosts_away") == 0
    assert page.sum("configdrive_orphan_images") == 1
    assert time.time() - page.sum("configdrive_storage_sweep_last_round_timestamp_seconds") < 30
    assert page.sum("configdrive_parked_vms") == 1
    queues = {dict(labels)["queue"] for name, labels in page.samples if name == "configdrive_pending_vms"}
    assert queues >= {"configdrive.kvm", "configdrive.simulated"}, "zero is reported, too: a scaler needs it"


def test_the_count_goes_on_when_a_child_dies_and_what_a_killed_worker_leaves_holds_up_no_successor(
    tmp_path: Path,
) -> None:
    """Neither its files nor a child of its pool that hangs in the kernel: none has the port."""
    with small_fleet(tmp_path) as site:
        (worker,) = site.workers
        address = address_in(lambda: site.log)
        site.outcome(new_vm().event("deploy"))
        (child,) = worker.children()
        listener = socket_on(port_of(address))
        assert listener in open_files(worker.pid)
        assert listener not in open_files(child)
        vm = new_vm()
        site.inject(Kill(verb=Verb.UPLOAD, when=Point.MIDDLE, vm=vm.uuid))
        (event,) = site.publish(vm.event("deploy"))

        def waits() -> bool:
            page = scrape(address)
            waiting = page.sum("configdrive_pending_vms", queue="configdrive.simulated") == 1
            return waiting and page.sum("configdrive_oldest_pending_seconds") > 0

        wait_until(waits, "the VM whose worker died", timeout=10)
        site.ended(event)
        wait_until(lambda: scrape(address).sum("configdrive_events_total") == 2, "the last count", timeout=10)
        page = scrape(address)
        assert child not in worker.children()
        assert page.sum("configdrive_attempts_total") == 3
        assert page.sum("configdrive_events_in_work") == 0
        assert page.sum("configdrive_pending_vms") == 0
        (left,) = worker.temporary.glob("configdrive-metrics-*")
        assert left.stat().st_mode & 0o777 == 0o700
        assert {path.name.split("_")[-1] for path in left.glob("*.db")} == {"main.db", "child0.db"}

        worker.kill()
        worker.sweep_up()
        again = Worker(tmp_path, "again", site.environment, options=["--metrics-port", str(port_of(address))])
        again.temporary.rmdir()
        again.temporary.symlink_to(worker.temporary)
        with again:
            address = address_in(lambda: again.log)
            assert not left.exists()
            assert scrape(address).sum("configdrive_events_total") == 0
        assert list(worker.temporary.glob("configdrive-metrics-*")) == []


def test_a_port_that_is_taken_is_a_mistake_that_is_reported(measured: Measured, tmp_path: Path) -> None:
    port = port_of(measured.worker)
    second = Worker(tmp_path, "second", measured.site.environment, options=["--metrics-port", str(port)])
    second.launch()
    code = second.wait_ended(20)
    assert code == ExitCode.MISCONFIGURED
    assert f"metrics_port: 127.0.0.1 port {port} is taken by another process" in second.log
    assert "--metrics-port" in second.log
    assert "Traceback" not in second.log
    assert list(second.temporary.iterdir()) == []


def test_a_redis_that_hangs_is_reported_while_it_hangs_and_what_was_counted_is_there(
    tmp_path: Path,
) -> None:
    with small_fleet(tmp_path, "--pool", "threads") as site:  # without processes that count on their own
        address = address_in(lambda: site.log)
        site.outcome(new_vm().event("deploy"))
        wait_until(lambda: scrape(address).sum("configdrive_events_total") == 1, "the count", timeout=10)
        site.redis.pause()
        try:
            page = scrape(address)
        finally:
            site.redis.resume()
        assert page.sum("configdrive_redis_up") == 0
        assert not page.has("configdrive_pending_vms")
        assert page.sum("configdrive_events_total") == 1
        wait_until(lambda: scrape(address).sum("configdrive_redis_up") == 1, "Redis", timeout=20, interval=0.2)
