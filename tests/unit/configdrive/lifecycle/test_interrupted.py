"""A worker dies, or a step fails, at any point of any event: the next attempt ends where an undisturbed one does."""

from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache

import pytest

from configdrive.contract.events import LifecycleEvent
from configdrive.errors import FleetError, PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.lifecycle.state import Phase
from tests.unit.documents import Json
from tests.unit.fakes.cloud import At
from tests.unit.fakes.fleet import HELLO, HOST_2, LOCAL, SECOND, VM, Fleet, clean, moves, read_image, running


class Killed(BaseException):
    """`kill -9`: no handler of the worker's runs."""


FAILURES: dict[str, Callable[[], BaseException]] = {
    "killed": Killed,
    "failed for now": lambda: TransientError(TransientCode.HYPERVISOR_ERROR, "for now"),
    "failed for good": lambda: PermanentError(PermanentCode.ACCESS_DENIED, "for good"),
}


def _staged(fleet: Fleet) -> None:
    fleet.send("deploy", guest=HELLO | {"password": "first"})


def _running(fleet: Fleet) -> None:
    running(fleet, guest=HELLO | {"password": "first"})


def _reset(fleet: Fleet) -> None:
    _running(fleet)
    fleet.send("password_reset", guest={"password": "second"})


def _root_disk_moved(fleet: Fleet) -> None:
    _running(fleet)
    fleet.machine.root = SECOND


def _local(fleet: Fleet) -> None:
    fleet.machine.root = LOCAL
    _running(fleet)


def _host_lost(fleet: Fleet) -> None:
    _local(fleet)
    fleet.machine.host, fleet.machine.medium = HOST_2, None


def _prepared(fleet: Fleet) -> None:
    _local(fleet)
    fleet.send("migrate", phase="prepare", host=None)


def _moved(fleet: Fleet) -> None:
    _prepared(fleet)
    moves(fleet)


def _ejected(fleet: Fleet) -> None:
    _prepared(fleet)
    fleet.machine.medium = None


@dataclass(frozen=True)
class Scenario:
    """An event, after what has happened before it."""

    before: Callable[[Fleet], None]
    word: str
    data: Json


SCENARIOS = {
    "deploy": Scenario(lambda _fleet: None, "deploy", {"guest": HELLO}),
    "deploy again": Scenario(_staged, "deploy", {"guest": HELLO}),
    "start": Scenario(_staged, "start", {}),
    "start with a reset password": Scenario(_reset, "start", {}),
    "start after the root disk moved": Scenario(_root_disk_moved, "start", {}),
    "start on another host": Scenario(_host_lost, "start", {"host": "host-2"}),
    "reset now": Scenario(_running, "password_reset", {"apply": "now", "guest": {"password": "second"}}),
    "update now": Scenario(_running, "update", {"apply": "now", "guest": {"user_data": {"text": "new"}}}),
    "password delivered": Scenario(_running, "update", {"password_delivered": True}),
    "stop": Scenario(_reset, "stop", {}),
    "prepare": Scenario(_local, "migrate", {"phase": "prepare", "host": None}),
    "complete": Scenario(_moved, "migrate", {"phase": "complete", "host": None}),
    "complete without prepare": Scenario(_host_lost, "migrate", {"phase": "complete", "host": None}),
    "rollback": Scenario(_prepared, "migrate", {"phase": "rollback", "host": None}),
    "rollback after the medium was ejected": Scenario(_ejected, "migrate", {"phase": "rollback", "host": None}),
    "destroy": Scenario(_reset, "destroy", {}),
}


@cache
def _begin(name: str) -> tuple[Fleet, LifecycleEvent]:
    scenario = SCENARIOS[name]
    fleet = Fleet()
    scenario.before(fleet)
    return fleet, fleet.event(scenario.word, **scenario.data)


def begin(name: str) -> tuple[Fleet, LifecycleEvent]:
    """A world of its own at the beginning of the event."""
    fleet, event = _begin(name)
    return deepcopy(fleet), event


def fail_at(fleet: Fleet, point: int, failure: Callable[[], BaseException]) -> list[tuple[str, At]]:
    """Let the driver fail when it comes to this point (-1: never); returns the points as they are passed."""
    passed: list[tuple[str, At]] = []

    def hook(verb: str, at: At) -> None:
        passed.append((verb, at))
        if len(passed) == point + 1:
            raise failure()

    fleet.cloud.hook = hook
    return passed


@cache
def undisturbed(name: str) -> tuple[object, list[tuple[str, At]]]:
    """What an undisturbed attempt comes to, and the points it passes."""
    fleet, event = begin(name)
    passed = fail_at(fleet, -1, Killed)
    settled = fleet.handle(event)
    return result(fleet, settled.outcome.facts), passed


def finish(fleet: Fleet) -> None:
    """Have what was left behind taken away."""
    for host in fleet.known().left_on:
        clean(fleet, host)


def result(fleet: Fleet, facts: dict[str, str]) -> object:
    return (
        fleet.cloud.files,
        replace(fleet.machine, slot=False),
        replace(fleet.known(), added=None, vm=None if fleet.known().phase is Phase.GONE else fleet.known().vm),
        {name: fact for name, fact in facts.items() if name not in {"attach", "left_behind"}},
    )


KEEP_THE_MEDIUM = {
    *("update now", "reset now", "password delivered"),
    *("start with a reset password", "prepare", "complete"),
}
"""What happens to a VM that runs, and has a medium at any moment."""


# An operator who says to try again sets the attempts back to one.
@pytest.mark.parametrize(
    ("failure", "attempt"), [("killed", 1), ("killed", 2), ("failed for now", 2), ("failed for good", 1)]
)
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_next_attempt_ends_where_an_undisturbed_one_does(name: str, failure: str, attempt: int) -> None:
    """And what the guest reads meanwhile is never half an image, whenever the worker dies."""
    wanted, points = undisturbed(name)
    assert {at for _verb, at in points} >= {At.BEFORE, At.AFTER}
    for point, where in enumerate(points):
        fleet, event = begin(name)
        before = set(fleet.cloud.files)
        remembered = fleet.remembered
        fail_at(fleet, point, FAILURES[failure])
        try:
            settled = fleet.handle(event)
        except (Killed, FleetError):
            assert fleet.remembered == remembered
            medium = fleet.cloud.medium(VM)
            assert medium is None or failure != "killed" or read_image(medium)
            assert medium is not None or name not in KEEP_THE_MEDIUM, f"no medium at {where}"
            if failure == "failed for good":
                left = fleet.cloud.files.keys() - before
                assert left <= {fleet.machine.medium}, f"half done after {where}"
            fail_at(fleet, -1, Killed)
            settled = fleet.handle(event, attempt=attempt)
        else:
            assert failure != "killed"
            assert settled.outcome.facts["left_behind"], "what fails without an end is left behind"
            fail_at(fleet, -1, Killed)
            finish(fleet)
        assert result(fleet, settled.outcome.facts) == wanted, f"differs after a failure at {where}"


@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_twice_makes_no_difference_either(name: str) -> None:
    wanted, points = undisturbed(name)
    for first in range(len(points)):
        fleet, event = begin(name)
        settled = None
        for attempt, point in enumerate((first, 2, -1), 1):
            if settled is None:
                fail_at(fleet, point, Killed)
                with suppress(Killed):
                    settled = fleet.handle(event, attempt=attempt)
        assert settled is not None
        assert result(fleet, settled.outcome.facts) == wanted
