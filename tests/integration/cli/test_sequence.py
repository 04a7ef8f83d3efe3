from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from rigs.cloud import VmScript
from tests.integration.cli.place import Place
from workers.cli.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

REASON = "the counter was restored from a backup"
FAR = 2**53 - 1
"""The largest sequence that there is."""


def applied(place: Place, event: dict[str, object], code: int = 0) -> str:
    (reported,) = place.lines("publish", "-", "--wait", stdin=json.dumps(event), code=code)
    return str(reported["outcome"]["status"])


def test_a_counter_that_went_back_goes_on_from_where_it_is_set(place: Place, vm: VmScript) -> None:
    far = vm.event("deploy", start=True, sequence=FAR)
    assert applied(place, far) == "applied"
    assert applied(place, vm.event("stop", sequence=7), code=ExitCode.FAILED) == "dropped"

    assert place.json("sequence", vm.uuid) == {"vm_uuid": vm.uuid, "sequence": FAR}
    assert place.json("sequence", vm.uuid, "--set", "7", "--reason", REASON) == {"vm_uuid": vm.uuid, "sequence": 7}
    assert applied(place, vm.event("stop", sequence=8)) == "applied"
    assert place.cloud.images(vm.uuid) == []
    (action,) = place.json("show", vm.uuid)["operators"]
    assert (action["action"], action["vm_uuid"], action["reason"]) == ("sequence", vm.uuid, f"{FAR} -> 7: {REASON}")
    assert f"sequence {FAR} -> 7: {REASON}" in place.run("show", vm.uuid).stdout


def test_it_is_not_set_under_a_vm_whose_events_wait(quiet_place: Callable[..., Place], vm: VmScript) -> None:
    place = quiet_place()
    with place.with_worker():
        applied(place, vm.event("deploy"))
    place.run("publish", "-", stdin=json.dumps(vm.event("start")))
    shown = place.run("sequence", vm.uuid, "--set", "0", "--reason", REASON)

    assert shown.exit_code == ExitCode.FAILED
    assert "its events wait" in shown.stderr
    assert place.json("sequence", vm.uuid)["sequence"] == 1
    assert place.json("show", vm.uuid)["operators"] == []


@pytest.mark.parametrize("more", [(), ("--set", "3", "--reason", REASON)], ids=["shown", "set"])
def test_of_a_stranger_there_is_none(place: Place, more: tuple[str, ...]) -> None:
    stranger = VmScript().uuid
    shown = place.run("sequence", stranger, *more)

    assert (shown.exit_code, shown.stderr) == (ExitCode.FAILED, f"no event of VM {stranger} was applied so far\n")
    assert place.run("show", stranger).exit_code == ExitCode.FAILED, "nothing is remembered by that"
