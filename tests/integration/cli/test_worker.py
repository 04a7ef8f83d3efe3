import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from configdrive.errors import PermanentCode
from configdrive.model import HypervisorName
from rigs.cloud import VmScript
from rigs.fleet import keys_in
from rigs.process import Daemon
from rigs.redis import RedisServer
from rigs.worker import CONFIGDRIVE, Worker
from tests.integration.cli.place import FLEET, PASSWORD, Place
from tests.support import error_of, require_rig, wait_until
from workers.cli.errors import ExitCode
from workers.worker import requirements


@pytest.mark.parametrize("pool", ["solo", "threads", "prefork"])
def test_a_worker_heeds_no_variables_of_others_logs_for_machines_and_ends_at_ctrl_c(
    quiet_place: Callable[..., Place], vm: VmScript, pool: str
) -> None:
    """Celery's own command line would take its app and broker from such variables. TERM: e2e/test_rolling_restart."""
    place = quiet_place(log_format="json")
    place.environment.update({"APP": "nonsense", "BROKER_URL": "redis://127.0.0.1:1/0", "CONFIG_MODULE": "nonsense"})
    options = ["--pool", pool, "--concurrency", "1"]
    with Worker(place.fleet.directory, "ending", place.environment, options=options) as worker:
        outcome = place.outcome(vm.event("deploy", guest={"password": PASSWORD}))
        lines = [json.loads(line) for line in worker.log.splitlines()]
        os.kill(worker.pid, signal.SIGINT)
        code = worker.wait_ended(20)
        log = worker.log

    assert (outcome["status"], code) == ("applied", ExitCode.INTERRUPTED)
    assert {"level", "logger", "message", "time"} <= lines[0].keys()
    assert {line["step"] for line in lines if "step" in line} >= {"observe", "build", "upload"}
    assert [word for word in ("Traceback", "superuser", PASSWORD) if word in log] == []


def test_a_login_that_redis_refuses_ends_a_worker(quiet_place: Callable[..., Place]) -> None:
    place = quiet_place()
    url = place.fleet.redis.url.replace("redis://", "redis://nobody:Hunter2@")
    shown = place.process("worker", "--hypervisor", "simulated", environment={"CONFIGDRIVE_REDIS_URL": url})

    assert shown.returncode == ExitCode.MISCONFIGURED
    assert f"Redis at 127.0.0.1:{place.fleet.redis.port} refuses the login" in shown.stderr
    assert [word for word in ("Hunter2", "Traceback") if word in shown.stdout + shown.stderr] == []


def test_a_fleet_id_that_differs_from_redis_is_no_start_for_a_worker_and_the_remedy_works(
    quiet_place: Callable[..., Place],
) -> None:
    place = quiet_place()
    key = f"{place.fleet.settings.key_prefix}fleet"
    with place.fleet.redis.client() as client:
        client.set(key, "another2")
        begin = requirements(place.fleet.settings, client, HypervisorName("simulated"))
        refused = error_of(begin)
        assert client.get(key) == b"another2"
        client.delete(key)
        begin()
        assert client.get(key) == FLEET.encode()

    assert refused.code is PermanentCode.MISCONFIGURED
    assert f"fleet_id: is '{FLEET}', and Redis has 'another2'" in refused.detail
    assert f"`redis-cli del {key}`" in refused.remedy


@pytest.mark.parametrize("worked", [False, True])
def test_a_worker_waits_for_redis_and_when_another_fleet_s_comes_it_ends_and_parks_nothing(
    tmp_path: Path, vm: VmScript, *, worked: bool
) -> None:
    server = RedisServer(tmp_path / "redis")
    place = Place(tmp_path / "place", server)
    (worker,) = place.fleet.workers
    key = f"{place.fleet.settings.key_prefix}fleet"

    def another_redis() -> None:
        with server.client() as client:
            client.flushall()
            client.set(key, "another2")
            place.store(vm.event("destroy"))

    if not worked:
        with server:
            another_redis()
    words = f"Redis at 127.0.0.1:{server.port} cannot be reached (Connection refused); trying until it can"
    try:
        worker.launch()
        wait_until(lambda: words in worker.log, "the worker to say that Redis is away", timeout=20)
        with server:
            if worked:
                worker.wait_ready()
                assert place.outcome(vm.event("deploy"))["status"] == "applied"
                another_redis()
            assert worker.wait_ended(30) == ExitCode.MISCONFIGURED
            assert place.json("show", vm.uuid)["parked"] is None
    finally:
        worker.stop()
    assert "Remedy: start it, or correct CONFIGDRIVE_REDIS_URL" in worker.log
    assert f"fleet_id: is '{FLEET}', and Redis has 'another2'" in worker.log
    assert f"`redis-cli del {key}`" in worker.log


def test_workers_of_one_host_have_names_of_their_own_and_take_from_their_zone_alone(
    quiet_place: Callable[..., Place], vm: VmScript
) -> None:
    place = quiet_place(zones=["berlin", "paris"])
    place.environment["CONFIGDRIVE_LABLE"] = PASSWORD
    words = ("worker", "--hypervisor", "simulated", "--pool", "solo", "--zone", "paris")
    with place.running(*words) as one, place.running(*words) as other:

        def served() -> set[str]:
            found = place.json("doctor")["findings"]
            return {finding["subject"] for finding in found if finding["subject"].startswith("worker ")}

        wait_until(lambda: len(served()) == 2, "two workers to answer", timeout=30)
        assert {name.split("@")[0] for name in served()} == {f"worker simulated-{pid}" for pid in (one.pid, other.pid)}
        assert place.outcome(vm.event("deploy", zone="paris"))["status"] == "applied"
        there = place.run("publish", "-", "--wait", "0.5", stdin=json.dumps(vm.event("start", zone="berlin")))
        assert there.exit_code == ExitCode.TIME_OVER
        for process in (one, other):
            process.terminate()
        said = [process.communicate(timeout=300)[1] for process in (one, other)]
    place.said += said
    assert (one.returncode, other.returncode) == (ExitCode.DONE, ExitCode.DONE)
    ignored = "the variable CONFIGDRIVE_LABLE is no setting, and is ignored. did you mean CONFIGDRIVE_LABEL?"
    for errors in said:
        assert "WARNING" in errors.splitlines()[0]
        assert ignored in errors.splitlines()[0]
        assert "takes from configdrive.simulated.paris; pool solo" in errors


DEAF = """
from celery import signals
from workers.cli import main

def deafen(sender, **_named):
    sender.cancel_task_queue("configdrive.simulated")

signals.worker_ready.connect(deafen)
main()
"""
"""A worker that takes from its queue no more, by whatever cause; all else in it goes on."""


@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_a_worker_that_takes_nothing_any_more_gives_no_sign_of_life(
    quiet_place: Callable[..., Place], tmp_path: Path, pool: str
) -> None:
    alive = tmp_path / "alive"
    place = quiet_place(health_file=alive)
    words = ["worker", "--hypervisor", "simulated", "--pool", pool, "--concurrency", "1"]
    log = tmp_path / "log"
    with (
        log.open("w") as file,
        subprocess.Popen([sys.executable, "-c", DEAF, *words], env=place.process_environment(), stderr=file) as process,
    ):
        said = "takes nothing from configdrive.simulated: no sign of life"
        wait_until(lambda: said in log.read_text(), "the worker to notice", timeout=60)
        os.utime(alive, (1, 1))
        wait_until(lambda: log.read_text().count(said) >= 3, "it to be said again", timeout=60)
        assert alive.stat().st_mtime == 1
        process.terminate()
    place.said.append(log.read_text())


HASTY = """
from workers.cli import main
from workers.queueing import bootsteps

bootsteps._SIGN_OF_LIFE_SECONDS = 0.2
main()
"""
"""A worker that gives its sign of life often, so that one that it does not give is seen soon."""


def test_while_redis_is_away_a_worker_s_sign_of_life_grows_old_and_those_beside_it_do_not(tmp_path: Path) -> None:
    """As docs/how-to/redis-loss.md says: a worker that is started anew then waits, too, and loses nothing."""
    words = {
        "worker": [
            sys.executable,
            "-c",
            HASTY,
            *["worker", "--hypervisor=simulated", "--pool=threads", "--concurrency=1"],
        ],
        "wake": [CONFIGDRIVE, "wake", "--every", "0.2"],
        "sweep": [CONFIGDRIVE, "sweep", "--every", "1"],
    }
    log = tmp_path / "worker.log"

    def fresh(*names: str) -> None:
        """Wait until each touches its file once more."""
        for name in names:
            os.utime(tmp_path / name, (1, 1))
        wait_until(lambda: all((tmp_path / name).stat().st_mtime > 1 for name in names), "signs of life", timeout=20)

    with require_rig(), RedisServer(tmp_path / "redis") as server, ExitStack() as stack:
        place = Place(tmp_path, server, workers=0)
        keys_in(place.fleet.settings.keys_file)
        for name, argv in words.items():
            (tmp_path / name).touch()
            own = place.process_environment({"CONFIGDRIVE_HEALTH_FILE": str(tmp_path / name)})
            daemon = Daemon(argv, tmp_path / f"{name}.log", own)
            stack.callback(daemon.kill)
            daemon.start()
        wait_until(lambda: " ready." in log.read_text(), "the worker", timeout=30)
        fresh(*words)
        server.stop()
        tried = "Trying again"
        wait_until(lambda: tried in log.read_text(), "the worker to notice", timeout=20)
        os.utime(tmp_path / "worker", (1, 1))
        fresh("wake", "sweep")
        before = log.read_text().count(tried)
        wait_until(lambda: log.read_text().count(tried) > before, "it to have waited for seconds", timeout=20)
        assert (tmp_path / "worker").stat().st_mtime == 1
        server.start()
        fresh(*words)
