from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.integration.cli.place import PASSWORD, Place
from workers.cli.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from rigs.cloud import VmScript

GUEST = {"password": PASSWORD}


def sealed(place: Place) -> list[int]:
    return [row["sealed_boxes"] for row in place.json("keys", "list", "--usage")]


def test_a_key_is_kept_while_an_event_or_a_state_is_sealed_with_it(
    quiet_place: Callable[..., Place], vm: VmScript
) -> None:
    place = quiet_place()
    place.run("keys", "generate")
    place.run("publish", "-", stdin=json.dumps(vm.event("deploy", guest=GUEST)))
    place.run("keys", "rotate")
    old, _new = (row["id"] for row in place.json("keys", "list"))

    assert sealed(place) == [1, 0]
    refused_for_event = place.run("keys", "retire", old)
    with place.with_worker():
        place.lines("publish", "-", "--wait", stdin=json.dumps(vm.event("update", guest={"metadata": {"vm_id": "7"}})))
        # The state is sealed anew with each event, so nothing needs the old key any more.
        assert sealed(place)[0] == 0
        assert place.run("keys", "retire", old).exit_code == ExitCode.DONE
        (started,) = place.lines("publish", "-", "--wait", stdin=json.dumps(vm.event("start")))

    assert refused_for_event.exit_code == ExitCode.FAILED
    assert f"1 VMs still need key {old}: {vm.uuid}" in refused_for_event.stderr
    assert started["outcome"]["facts"]["password"] == "on_drive"
    assert len(sealed(place)) == 1
    assert sealed(place)[0] >= 1


def test_every_sealed_box_of_a_state_is_counted(place: Place, vm: VmScript) -> None:
    place.run("keys", "generate")  # others here may have made it before
    before = sum(sealed(place))
    for event, more in (
        (vm.event("deploy", guest={"metadata": {"vm_id": "7"}}), 1),  # what the drive says
        (vm.event("start", guest=GUEST), 2),  # the password on the drive
        (vm.event("password_reset", guest=GUEST), 3),  # the one for the next start
        (vm.event("destroy"), 0),
    ):
        place.lines("publish", "-", "--wait", stdin=json.dumps(event))
        assert sum(sealed(place)) - before == more


def test_what_a_lost_key_has_sealed_is_counted(quiet_place: Callable[..., Place], vm: VmScript) -> None:
    place = quiet_place()
    place.run("keys", "generate")
    place.run("publish", "-", stdin=json.dumps(vm.event("deploy", guest=GUEST)))
    place.run("keys", "rotate")
    old = place.json("keys", "list")[0]["id"]

    assert place.run("keys", "retire", old, "--force").exit_code == ExitCode.DONE
    assert "1 sealed boxes need a key that is not in the file" in place.run("keys", "list", "--usage").stderr
