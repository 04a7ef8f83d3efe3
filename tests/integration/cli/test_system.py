"""What a machine has in store for a command: a port that is taken, a full disk, another charset, Ctrl-C."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rigs.cloud import VmScript
from rigs.process import LOOPBACK
from rigs.worker import CONFIGDRIVE
from tests.integration.cli.place import Place
from tests.support import wait_until
from workers.cli.errors import ExitCode

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def taken() -> Iterator[int]:
    """A port at which somebody listens."""
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        yield other.getsockname()[1]


def test_flower_says_that_its_port_is_taken(place: Place, taken: int) -> None:
    shown = place.process("flower", f"--port={taken}")

    assert shown.returncode == ExitCode.MISCONFIGURED
    assert f"configdrive: {LOOPBACK}:{taken}: Address already in use" in shown.stderr
    assert "give another --port" in shown.stderr
    assert "Traceback" not in shown.stderr


FLOWER = """
import os, signal, sys
from flower.app import Flower

def strike(*_arguments, **_named):
    os.kill(os.getpid(), signal.SIGINT)
    while True:
        signal.pause()

Flower.start_http_server = strike
import workers.cli
sys.argv = ["configdrive", "flower", "--port=0"]
workers.cli.main()
"""


def test_ctrl_c_while_flower_starts_ends_it_without_a_word(place: Place) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", FLOWER],
        env=place.process_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert shown.returncode == ExitCode.INTERRUPTED, shown.stderr
    assert "Traceback" not in shown.stderr


@pytest.mark.parametrize("command", [["schema"], ["keys", "public"]], ids=" ".join)
def test_a_full_disk_is_named(place: Place, command: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        shown = subprocess.run(
            [CONFIGDRIVE, *command],
            env=place.process_environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=600,
        )
    assert shown.stderr == "configdrive: No space left on device\n  remedy: make room on that disk (`df -h`)\n"
    assert shown.returncode == ExitCode.MISCONFIGURED


@pytest.mark.parametrize("more", [[], ["--publish"]], ids=["printed", "published"])
def test_names_that_the_charset_has_no_letters_for_are_those_that_were_typed(
    quiet_place: Callable[..., Place], vm: VmScript, more: list[str]
) -> None:
    """Where it is ASCII, as a unit's or a container's often is."""
    place = quiet_place()
    typed = ["event", "stop", "--vm", vm.uuid, "--name", "Müller-Ω", "--hypervisor", "simulated", "--sequence", "9"]
    done = place.process(*typed, *more, environment=ASCII)

    assert done.returncode == ExitCode.DONE, done.stderr
    if not more:
        assert json.loads(done.stdout)["data"]["vm"]["instance_name"] == "Müller-Ω"


def test_ctrl_c_while_an_outcome_is_waited_for_says_that_the_event_is_stored(
    quiet_place: Callable[..., Place], vm: VmScript
) -> None:
    place = quiet_place()
    event = vm.event("stop")
    process = subprocess.Popen(
        [CONFIGDRIVE, "publish", "-", "--wait"],
        env=place.process_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(event))
        process.stdin.close()
        process.stdin = None
        with place.fleet.redis.client(decode_responses=True) as redis:
            # Nobody else here waits for outcomes, though connections of others may have done so last.
            def waits() -> bool:
                return any((one["cmd"], "b" in one["flags"]) == ("xread", True) for one in redis.client_list())

            wait_until(waits, "its wait", timeout=60)
        os.kill(process.pid, signal.SIGINT)
        out, said = process.communicate(timeout=600)
    place.said.append(out + said)

    assert process.returncode == ExitCode.INTERRUPTED
    shown = f"`configdrive watch --since 1h --vm {vm.uuid}`"
    assert said.strip() == f"{event['id']} is stored, and goes on without you: {shown} shows its outcome"
