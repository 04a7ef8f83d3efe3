from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from rigs.cloud import VmScript
from rigs.redis import RedisServer
from rigs.worker import CONFIGDRIVE
from tests.integration.cli.place import PASSWORD, USER_DATA, Place, event_lines
from workers.cli.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GUEST = {"password": PASSWORD, "user_data": {"text": USER_DATA}}


def test_an_event_from_the_shell_comes_to_its_outcome(place: Place, vm: VmScript, tmp_path: Path) -> None:
    path = tmp_path / "event.json"
    path.write_text(json.dumps(vm.event("deploy", guest=GUEST, start=True), indent=2))
    shown = place.process("publish", str(path), "--wait")

    assert (shown.returncode, shown.stderr) == (ExitCode.DONE, "")
    assert f"applied         deploy          {vm.uuid}  #1  attach=inserted" in shown.stdout
    assert "password=on_drive" in shown.stdout
    assert place.cloud.medium(vm.uuid) == vm.image()


def test_without_waiting_it_is_stored_and_done_later(place: Place, vm: VmScript) -> None:
    event = vm.event("deploy")
    shown = place.run("publish", "-", stdin=json.dumps(event))

    assert (shown.exit_code, shown.stdout) == (ExitCode.DONE, f"stored  {event['id']}\n")
    assert place.fleet.publisher.wait(event, 600) is not None


def test_every_form_of_input_keeps_the_order(place: Place) -> None:
    lines, array = VmScript(), VmScript()
    for vm, text in (
        (lines, event_lines([lines.event("deploy"), lines.event("start"), lines.event("stop")])),
        (array, json.dumps([array.event("deploy"), array.event("start"), array.event("stop")], indent=1)),
    ):
        outcomes = [reported["outcome"] for reported in place.lines("publish", "-", "--wait", stdin=text)]

        assert [(outcome["event_type"], outcome["vm_uuid"]) for outcome in outcomes[-1:]] == [("stop", vm.uuid)]
        assert {outcome["status"] for outcome in outcomes} <= {"applied", "dropped"}
        assert place.cloud.images(vm.uuid) == []


def test_a_bad_line_is_reported_with_its_field_and_the_others_go_on(place: Place, vm: VmScript) -> None:
    good, late = vm.event("deploy"), vm.event("start")
    bad_label = VmScript().event("deploy", label="seventeen-letters", guest=GUEST)
    stranger = {**VmScript().event("deploy", guest=GUEST), "type": "configdrive.vm.explode.v1"}
    elsewhere = VmScript().event("deploy", hypervisor="hyper-w", guest=GUEST)
    spoilt = json.dumps(vm.event("stop", guest=GUEST))[:-9]
    text = event_lines([good, bad_label, stranger]) + spoilt + "\n" + event_lines([elsewhere, late])
    shown = place.run("publish", "-", "--wait", stdin=text)

    assert shown.exit_code == ExitCode.FAILED
    assert "2 stored" in shown.stdout
    assert "4 refused" in shown.stdout
    reported = [line for line in shown.stderr.splitlines() if line.startswith("line ")]
    assert [line.split(": ")[0] for line in reported] == ["line 2", "line 3", "line 4", "line 5"]
    assert "invalid_event: data.label: " in reported[0]
    assert "unknown_hypervisor: data.hypervisor: " in reported[3]
    assert place.cloud.medium(vm.uuid) == vm.image(2)


def test_an_event_is_taken_once_however_often_it_is_published(place: Place, vm: VmScript) -> None:
    event = json.dumps(vm.event("deploy", guest=GUEST))
    (first,) = place.lines("publish", "-", "--wait", stdin=event)
    (again,) = place.lines("publish", "-", "--wait", stdin=event)

    assert (first["result"], again["result"]) == ("outcome", "duplicate")
    assert again["outcome"] == first["outcome"]


def test_a_parked_event_is_a_failure_also_when_it_is_published_again(place: Place, vm: VmScript) -> None:
    event = json.dumps(vm.event("deploy", host="nowhere", guest=GUEST))
    (first,) = place.lines("publish", "-", "--wait", stdin=event, code=ExitCode.FAILED)
    (again,) = place.lines("publish", "-", stdin=event, code=ExitCode.FAILED)

    assert (first["outcome"]["status"], first["outcome"]["code"]) == ("parked", "unknown_host")
    assert first["outcome"]["remedy"]
    assert again["outcome"] == first["outcome"]


def test_a_stale_event_is_a_failure(place: Place, vm: VmScript) -> None:
    place.lines("publish", "-", "--wait", stdin=json.dumps(vm.event("deploy", sequence=5)))
    late_event = json.dumps(vm.event("start", sequence=4))
    (late,) = place.lines("publish", "-", "--wait", stdin=late_event, code=ExitCode.FAILED)

    assert (late["outcome"]["status"], late["outcome"]["code"]) == ("dropped", "stale_sequence")


def test_a_superseded_event_is_none(quiet_place: Callable[..., Place], vm: VmScript) -> None:
    place = quiet_place()
    events = [vm.event("start", guest=GUEST), vm.event("stop")]
    place.run("publish", "-", stdin=event_lines(events))
    with place.with_worker():
        reported = place.lines("publish", "-", "--wait", stdin=event_lines(events))

    outcomes = {row["event_id"]: row["outcome"] for row in reported if row.get("outcome")}
    assert [outcomes[event["id"]]["status"] for event in events] == ["dropped", "applied"]
    assert outcomes[events[0]["id"]]["code"] == "superseded"


def test_when_nobody_works_the_time_is_over(quiet_place: Callable[..., Place], vm: VmScript) -> None:
    shown = quiet_place().run("publish", "--wait", "0.3", "-", stdin=json.dumps(vm.event("deploy", guest=GUEST)))

    assert shown.exit_code == ExitCode.TIME_OVER
    assert "no outcome so far for" in shown.stderr


def test_a_login_that_redis_refuses_is_a_mistake_in_the_configuration(place: Place, vm: VmScript) -> None:
    stranger = {"CONFIGDRIVE_REDIS_URL": place.fleet.redis.url.replace("redis://", "redis://nobody:Hunter2@")}
    shown = place.process("publish", "-", stdin=json.dumps(vm.event("stop")), environment=stranger)

    assert shown.returncode == ExitCode.MISCONFIGURED
    assert f"Redis at 127.0.0.1:{place.fleet.redis.port} refuses the login" in shown.stderr
    assert "Hunter2" not in shown.stdout + shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_redis_that_hangs_is_reported_while_it_hangs(tmp_path: Path, place: Place, vm: VmScript) -> None:
    with RedisServer(tmp_path / "redis") as server:
        server.pause()
        shown = place.process(
            "publish", "-", stdin=json.dumps(vm.event("stop")), environment={"CONFIGDRIVE_REDIS_URL": server.url}
        )
        server.resume()

    assert shown.returncode == ExitCode.UNAVAILABLE
    assert f"Redis at 127.0.0.1:{server.port} cannot be reached" in shown.stderr


def test_when_redis_takes_no_more_it_says_what_is_stored_and_publishing_again_is_safe(tmp_path: Path) -> None:
    events = [VmScript().event("deploy", guest=GUEST) for _ in range(1000)]
    with RedisServer(tmp_path / "redis") as server:
        place = Place(tmp_path / "place", server, workers=0)
        place.run("keys", "generate")
        with server.client() as client:
            client.config_set("maxmemory", int(client.info("memory")["used_memory"]) + 2**20)
            full = place.process("publish", "-", stdin=event_lines(events))
            client.config_set("maxmemory", 0)
        again = place.process("publish", "-", stdin=event_lines(events))
        stored = sum(place.json("show")["pending"].values())
        place.fleet.stop()

    assert full.returncode == ExitCode.UNAVAILABLE
    assert "so far: " in full.stderr
    assert f"Redis at 127.0.0.1:{server.port} refused a command" in full.stderr
    assert again.returncode == ExitCode.DONE
    assert stored == len(events)
    assert PASSWORD not in full.stdout + full.stderr + again.stdout + again.stderr


def test_many_events_on_a_terminal_have_a_progress_bar_and_a_summary(quiet_place: Callable[..., Place]) -> None:
    place = quiet_place()
    events = [VmScript().event("deploy", guest=GUEST) for _ in range(120)]
    events[7]["data"]["label"] = "seventeen-letters"
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [CONFIGDRIVE, "publish", "-"],
        env=place.process_environment({"TERM": "xterm", "COLUMNS": "100"}),
        stdin=subprocess.PIPE,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        process.communicate(event_lines(events).encode(), timeout=300)
    os.close(theirs)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    os.close(ours)
    place.said.append(shown.decode())

    assert process.returncode == ExitCode.FAILED
    assert b"publishing" in shown
    assert b"120/120" in shown or b"119/120" in shown
    assert b"line 8: \x1b[31mrefused" in shown
    assert b"119 stored" in shown
    assert place.json("show")["pending"] == {"configdrive.simulated": 119}


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # how Linux says that nobody holds the other end any more
        return b""


@pytest.mark.parametrize(
    "name", ["pycdlib", "configdrive.lifecycle.reconcile", "asyncssh", "libvirt", "rich", "workers.worker"]
)
def test_publishing_loads_no_part_of_a_worker(name: str, loaded: set[str]) -> None:
    assert name not in loaded


@pytest.fixture(scope="module")
def loaded(shared_place: Place) -> set[str]:
    """The modules that a process has loaded when it has published."""
    code = "import sys; from workers.cli import program\ntry: program.main()\nexcept SystemExit: print(*sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", code, "publish", "-", "--wait"],
        input=json.dumps(VmScript().event("deploy")),
        env=shared_place.process_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    modules = set(shown.stdout.splitlines()[-1].split())
    assert "configdrive.client.publisher" in modules
    return modules
