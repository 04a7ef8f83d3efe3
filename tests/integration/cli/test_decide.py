from __future__ import annotations

import json
import os
import pty
import subprocess
from typing import TYPE_CHECKING, Any

from configdrive.errors import PermanentCode
from configdrive.model import EventId, VmUuid
from rigs.cloud import VmScript
from rigs.worker import CONFIGDRIVE
from tests.integration.cli.place import PASSWORD, Place
from workers.cli.exits import ExitCode
from workers.hypervisors.simulated.hooks import Raise, Verb

if TYPE_CHECKING:
    from collections.abc import Callable

GUEST = {"password": PASSWORD}


def test_a_parked_event_is_tried_again_once_the_cause_is_mended(place: Place, vm: VmScript) -> None:
    parked = place.parked(vm, guest=GUEST)
    (outcome,) = place.lines("retry", vm.uuid, "--wait")

    assert (outcome["event_id"], outcome["status"]) == (parked["id"], "applied")
    assert place.json("show", vm.uuid)["parked"] is None
    assert place.cloud.images(vm.uuid) == [vm.image(1)]


def test_a_retry_that_fails_again_is_a_failure(place: Place, vm: VmScript) -> None:
    place.parked(vm)
    place.cloud.world.hooks.inject(Raise(verb=Verb.OBSERVE, code=PermanentCode.ACCESS_DENIED, vm=vm.uuid))
    shown = place.run("retry", vm.uuid, "--wait")

    assert shown.exit_code == ExitCode.FAILED
    assert "parked" in shown.stdout
    assert "access_denied" in shown.stdout


def test_all_that_is_parked_for_one_cause_is_tried_again(place: Place) -> None:
    denied, elsewhere = VmScript(), VmScript()
    place.parked(denied)
    place.lines("publish", "-", "--wait", stdin=json.dumps(elsewhere.event("deploy", host="nowhere")), code=1)
    told = place.lines("retry", "--all-parked", "--code", "access_denied")

    assert denied.uuid in {row["vm"] for row in told}
    assert elsewhere.uuid not in {row["vm"] for row in told}
    assert place.json("show", elsewhere.uuid)["parked"] == "unknown_host"
    place.run("skip", elsewhere.uuid)


def test_a_skipped_event_is_given_up_and_the_next_goes_on(place: Place, vm: VmScript) -> None:
    parked = place.parked(vm)
    behind = vm.event("deploy", start=True)
    place.run("publish", "-", stdin=json.dumps(behind))
    (outcome,) = place.lines("skip", vm.uuid)
    following = place.fleet.publisher.wait(behind["id"], 10)

    assert (outcome["event_id"], outcome["status"]) == (parked["id"], "skipped")
    assert following is not None
    assert following.status == "applied"
    assert place.fleet.mailbox.outcome_of(EventId(parked["id"])) is not None
    assert place.cloud.medium(vm.uuid) == vm.image(2)


def test_only_the_event_that_is_meant_is_decided_on(place: Place, vm: VmScript) -> None:
    parked = place.parked(vm)
    for command in ("retry", "skip"):
        shown = place.run(command, vm.uuid, "--event", "another")

        assert shown.exit_code == ExitCode.FAILED
        assert f"is {parked['id']}" in shown.stderr
    assert place.run("skip", vm.uuid, "--event", parked["id"]).exit_code == ExitCode.DONE


def test_where_nothing_waits_there_is_nothing_to_decide(place: Place, vm: VmScript) -> None:
    for command in ("retry", "skip"):
        shown = place.run(command, vm.uuid)

        assert (shown.exit_code, shown.stderr) == (ExitCode.FAILED, f"no event of VM {vm.uuid} waits\n")


def test_an_event_that_a_worker_is_at_is_left_to_it(quiet_place: Callable[..., Place], vm: VmScript) -> None:
    place = quiet_place(lease_seconds=60)
    event = vm.event("deploy")
    place.run("publish", "-", stdin=json.dumps(event))
    place.fleet.mailbox.claim(VmUuid(vm.uuid), EventId(event["id"]))
    shown = place.run("skip", vm.uuid)

    assert shown.exit_code == ExitCode.FAILED
    assert "a worker is at it" in shown.stderr
    assert place.json("show", vm.uuid)["mailbox"][0]["event_id"] == event["id"]


def test_a_retry_that_nobody_takes_is_time_over(quiet_place: Callable[..., Place], vm: VmScript) -> None:
    place = quiet_place()
    place.run("publish", "-", stdin=json.dumps(vm.event("deploy")))
    shown = place.run("retry", vm.uuid, "--wait", "0.2")

    assert shown.exit_code == ExitCode.TIME_OVER
    assert "no outcome so far" in shown.stderr


def test_on_a_terminal_a_skip_is_asked_about(quiet_place: Callable[..., Place], vm: VmScript) -> None:
    place = quiet_place()
    place.run("publish", "-", stdin=json.dumps(vm.event("deploy")))

    refused = answer(place, ["skip", vm.uuid], b"n\n")
    assert refused[0] == ExitCode.FAILED
    assert f"give up deploy #1 of VM {vm.uuid}?" in refused[1]
    assert len(place.json("show", vm.uuid)["mailbox"]) == 1
    assert answer(place, ["skip", vm.uuid], b"y\n")[0] == ExitCode.DONE
    assert place.run("show", vm.uuid).exit_code == ExitCode.DONE
    assert place.json("show", vm.uuid)["mailbox"] == []


def answer(place: Place, args: list[str], typed: bytes) -> tuple[int, str]:
    """Run a command whose standard input is a terminal on which somebody types."""
    ours, theirs = pty.openpty()
    os.write(ours, typed)
    done: subprocess.CompletedProcess[Any] = subprocess.run(
        [CONFIGDRIVE, *args],
        env=place.process_environment(),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    os.close(theirs)
    os.close(ours)
    return done.returncode, done.stdout
