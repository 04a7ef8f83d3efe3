import itertools
import json
import select
import signal
from pathlib import Path
from typing import IO

from rigs.cloud import VmScript
from rigs.redis import RedisServer
from tests.integration.cli.place import PASSWORD, Place
from workers.cli.errors import ExitCode

GUEST = {"password": PASSWORD}


def first_line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline()


def test_outcomes_are_shown_as_they_happen_until_ctrl_c(place: Place, vm: VmScript) -> None:
    place.outcome(vm.event("deploy", guest=GUEST))
    with place.running("watch", "--vm", vm.uuid, "--since", "all", "--json") as process:
        past = json.loads(first_line(process.stdout))
        place.outcome(VmScript().event("deploy"))
        place.outcome(vm.event("start"))
        live = json.loads(first_line(process.stdout))
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=300)

    assert [(outcome["event_type"], outcome["vm_uuid"]) for outcome in (past, live)] == [
        ("deploy", vm.uuid),
        ("start", vm.uuid),
    ]
    assert live["facts"]["password"] == "on_drive"
    assert process.returncode == ExitCode.INTERRUPTED
    assert (rest, errors.strip()) == ("", "")


def test_without_since_the_past_is_not_shown(place: Place, vm: VmScript) -> None:
    place.outcome(vm.event("deploy"))
    with place.running("watch", "--vm", vm.uuid) as process:
        assert process.stdout is not None
        for event in itertools.cycle(("start", "stop")):  # nothing tells from outside that it has begun
            place.outcome(vm.event(event))
            if select.select([process.stdout], [], [], 0.5)[0]:
                break
        line = first_line(process.stdout)

    assert f"  {vm.uuid}  #" in line
    assert "applied         deploy" not in line
    assert "\x1b" not in line


def test_a_reader_that_stops_is_no_error(place: Place, vm: VmScript) -> None:
    place.outcome(vm.event("deploy"))
    with place.running("watch", "--since", "all", "--vm", vm.uuid) as process:
        assert first_line(process.stdout)
        assert process.stdout is not None
        process.stdout.close()
        code = process.wait(timeout=300)
        assert process.stderr is not None
        errors = process.stderr.read()

    assert (code, errors) == (ExitCode.READER_GONE, "")


def test_a_redis_that_restarts_is_waited_for(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        place, vm = Place(tmp_path / "place", server, workers=0), VmScript()
        place.store(vm.event("stop"))
        place.run("skip", "--yes", vm.uuid)
        with place.running("watch", "--since", "all", "--json") as process:
            first_line(process.stdout)
            server.stop()
            away = first_line(process.stderr)
            server.start()
            back = first_line(process.stderr)
        place.fleet.stop()

    assert away.startswith("Redis is away (")
    assert back == "Redis is back\n"
