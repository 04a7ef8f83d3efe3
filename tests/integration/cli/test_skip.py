import os
import pty
import subprocess
from collections.abc import Callable
from typing import Any

from configdrive.errors import PermanentCode
from configdrive.model import VmUuid
from rigs.cloud import VmScript, key_of
from rigs.worker import CONFIGDRIVE
from tasks.mailbox import Wakeup
from tests.integration.cli.place import PASSWORD, Place
from workers.cli.errors import ExitCode

GUEST = {"password": PASSWORD}


def test_a_skipped_event_is_given_up_and_the_next_goes_on(place: Place, vm: VmScript) -> None:
    parked = place.parked(vm)
    behind = vm.event("deploy", start=True)
    place.store(behind)
    (outcome,) = place.lines("skip", "--yes", vm.uuid)
    following = place.fleet.publisher.wait(behind, 600)

    assert (outcome["event_id"], outcome["status"]) == (parked["id"], "skipped")
    assert following is not None
    assert following.status == "applied"
    assert place.fleet.mailbox.outcome_of(key_of(parked)) is not None
    assert place.cloud.medium(vm.uuid) == vm.image(2)


def test_an_event_that_a_worker_is_at_is_left_to_it(quiet_place: Callable[..., Place], vm: VmScript) -> None:
    place = quiet_place(lease_seconds=60)
    event = vm.event("deploy")
    place.store(event)
    place.fleet.mailbox.claim(Wakeup(key_of(event), VmUuid(vm.uuid), "configdrive.simulated"))
    shown = place.run("skip", "--yes", vm.uuid)

    assert shown.exit_code == ExitCode.FAILED
    assert "a worker is at it" in shown.stderr
    assert place.json("show", vm.uuid)["mailbox"][0]["event_id"] == event["id"]


def test_on_a_terminal_a_skip_is_asked_about_and_elsewhere_refused_without_yes(
    quiet_place: Callable[..., Place], vm: VmScript
) -> None:
    place = quiet_place()
    place.store(vm.event("deploy"))

    unasked = place.run("skip", vm.uuid)
    assert unasked.exit_code == ExitCode.USAGE
    assert "give --yes: there is no terminal to ask on" in unasked.stderr
    refused = answer(place, ["skip", vm.uuid], b"n\n")
    assert refused[0] == ExitCode.FAILED
    assert f"give up deploy #1 of VM {vm.uuid}?" in refused[1]
    assert len(place.json("show", vm.uuid)["mailbox"]) == 1
    assert answer(place, ["skip", vm.uuid], b"y\n")[0] == ExitCode.DONE
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
        timeout=300,
    )
    os.close(theirs)
    os.close(ours)
    return done.returncode, done.stdout


def test_all_that_is_parked_for_one_cause_is_given_up_with_the_reason(place: Place) -> None:
    denied, scrapped = VmScript(), VmScript()
    code = PermanentCode.NOT_SUPPORTED  # no other test at this place parks anything for it
    place.parked(denied)
    place.parked(scrapped, code)
    outcomes = place.lines("skip", "--yes", "--all-parked", "--code", code, "--reason", "kvm-07 was scrapped")

    assert {outcome["vm_uuid"] for outcome in outcomes} == {scrapped.uuid}
    assert outcomes[0]["detail"] == "given up by an operator: kvm-07 was scrapped"
    assert place.json("show", denied.uuid)["parked"] == "access_denied"
    assert place.json("show", scrapped.uuid)["mailbox"] == []
    assert "skip deploy #1: kvm-07 was scrapped" in place.run("show", scrapped.uuid).stdout
    (nothing,) = place.lines("skip", "--yes", "--all-parked", "--code", code)
    assert nothing == {"found": False, "reason": f"nothing is parked for {code}"}
    place.run("skip", "--yes", denied.uuid)
