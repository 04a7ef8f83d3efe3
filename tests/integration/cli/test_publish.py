import json
import subprocess
import sys
from pathlib import Path

import pytest

from rigs.cloud import HOST, VmScript
from rigs.redis import RedisServer
from tests.integration.cli.place import PASSWORD, USER_DATA, Place, event_lines
from workers.cli.errors import ExitCode

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
    shown = place.store(event)
    assert (shown.exit_code, shown.stdout) == (ExitCode.DONE, f"stored  {event['id']}\n")
    assert place.fleet.publisher.wait(event, 600) is not None


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


@pytest.mark.parametrize(
    ("host", "code", "status"), [(HOST, ExitCode.DONE, "applied"), ("nowhere", ExitCode.FAILED, "parked")]
)
def test_an_event_is_taken_once_however_often_it_is_published(
    place: Place, vm: VmScript, host: str, code: ExitCode, status: str
) -> None:
    event = json.dumps(vm.event("deploy", host=host, guest=GUEST))
    (first,) = place.lines("publish", "-", "--wait", stdin=event, code=code)
    (again,) = place.lines("publish", "-", stdin=event, code=code)

    assert (first["result"], again["result"]) == ("outcome", "duplicate")
    assert (first["outcome"]["status"], bool(first["outcome"]["remedy"])) == (status, status == "parked")
    assert again["outcome"] == first["outcome"]


def test_when_redis_takes_no_more_it_says_what_is_stored_and_publishing_again_is_safe(tmp_path: Path) -> None:
    events = [VmScript().event("deploy", guest=GUEST) for _ in range(1000)]
    with RedisServer(tmp_path / "redis") as server:
        place = Place(tmp_path / "place", server, workers=0)
        place.run("keys", "generate")
        with server.client() as client:
            client.config_set("maxmemory", int(client.info("memory")["used_memory"]) + 2**20)
            full = place.store(*events)
            client.config_set("maxmemory", 0)
        again = place.store(*events)
        stored = sum(place.json("show")["pending"].values())
        server.pause()
        hangs = place.store(VmScript().event("stop"))
        server.resume()
        place.fleet.stop()

    assert full.exit_code == ExitCode.UNAVAILABLE
    assert "so far: " in full.stderr
    assert f"Redis at 127.0.0.1:{server.port} refused a command" in full.stderr
    assert again.exit_code == ExitCode.DONE
    assert stored == len(events)
    assert hangs.exit_code == ExitCode.UNAVAILABLE
    assert f"Redis at 127.0.0.1:{server.port} cannot be reached" in hangs.stderr
    assert PASSWORD not in "".join(place.said)


def test_publishing_loads_no_part_of_a_worker(place: Place, vm: VmScript) -> None:
    code = "import sys; from workers.cli import program\ntry: program.main()\nexcept SystemExit: print(*sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", code, "publish", "-", "--wait"],
        input=json.dumps(vm.event("deploy")),
        env=place.process_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    modules = set(shown.stdout.splitlines()[-1].split())
    assert "configdrive.client.publisher" in modules
    heavy = {"pycdlib", "configdrive.lifecycle.reconcile", "asyncssh", "libvirt", "rich", "workers.worker"}
    assert modules & heavy == set()
