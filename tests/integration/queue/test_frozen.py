"""A worker that stood still at any step of an event, longer than its lease, does no harm that is not mended."""

from typing import Final

import pytest
import redis

from configdrive.model import PowerState, StoredImage
from tests.integration.queue.frozen import ENDED, Act, Event, Place, Script, run
from tests.unit.fakes.fleet import AT_DESTINATION, HOST_1, HOST_2, LOCAL
from tests.unit.fakes.queue import QUEUE


def _start(password: str, **data: str) -> Event:
    return Event("start", {"guest": {"password": password}, **data})


def _move(place: Place) -> None:
    machine = place.machine
    machine.host = HOST_2
    if machine.medium is not None and machine.medium.place.host is not None:
        machine.medium = StoredImage(machine.medium.name, AT_DESTINATION)


def _move_back(place: Place) -> None:
    place.machine.host = HOST_1
    place.machine.medium = None


def _power(state: PowerState) -> Act:
    def do(place: Place) -> None:
        place.machine.power = state

    return Act(do)


DEPLOY, START, AGAIN = Event("deploy", {"guest": {"password": "first"}}), _start("second"), _start("third")
STOP, DESTROY = Event("stop"), Event("destroy")
ELSEWHERE = _start("fourth", host=HOST_2)
RESET = Event("password_reset", {"apply": "now", "host": None, "guest": {"password": "fifth"}})
PREPARE, COMPLETE, ROLLBACK = (
    Event("migrate", {"phase": phase, "destination": HOST_2, "host": None})
    for phase in ("prepare", "complete", "rollback")
)
ON, OFF = _power(PowerState.RUNNING), _power(PowerState.HALTED)
MOVE, UNDEFINE = Act(_move), Act(lambda place: place.undefine())
SKIP = Act(Place.skip, early=True)


def _lose_drive(place: Place) -> None:
    """A worker that stood still has emptied the drive, and deleted the image."""
    assert place.machine.medium is not None
    del place.cloud.files[place.machine.medium]
    place.machine.medium = None
    place.have_verified()


LOSE_DRIVE, VERIFY = Act(_lose_drive), Act(lambda place: place.queue.leftovers.verify_all(QUEUE))
DOWN, UP = (
    Act(lambda place: place.cloud.down.add(HOST_1)),
    Act(lambda place: place.cloud.down.discard(HOST_1)),
)
ASK, BACK = Act(lambda place: place.queue.leftovers.ask(QUEUE, HOST_1)), Act(_move_back)

_RUNS = (DEPLOY, START, ON)
SCRIPTS: Final = {
    "deploy, then start": Script((), DEPLOY, (START,), "second"),
    "deploy, then destroy": Script((), DEPLOY, (DESTROY,)),
    "start, then stop": Script((DEPLOY,), START, (STOP,)),
    "start, then destroy": Script((DEPLOY,), START, (DESTROY,)),
    "start, then undefined and destroyed": Script((DEPLOY,), START, (UNDEFINE, DESTROY)),
    "start, then start": Script((DEPLOY,), START, (AGAIN,), "third"),
    "start, then stop and start": Script((DEPLOY,), START, (STOP, AGAIN), "third"),
    "start, then a reset": Script((DEPLOY,), START, (ON, RESET), "fifth"),
    "start, then elsewhere with its storage": Script((DEPLOY,), START, (MOVE, ELSEWHERE), "fourth", HOST_2, LOCAL),
    "start, then given up and start": Script((DEPLOY,), START, (SKIP, AGAIN), "third"),
    "stop, then destroy": Script(_RUNS, STOP, (DESTROY,)),
    "stop, then start": Script(_RUNS, STOP, (AGAIN,), "third"),
    "stop, then start and a reset": Script(_RUNS, STOP, (AGAIN, ON, RESET), "fifth"),
    "stop, then elsewhere": Script(_RUNS, STOP, (OFF, MOVE, ELSEWHERE), "fourth", HOST_2, LOCAL),
    "destroy, then stop": Script(_RUNS, DESTROY, (STOP,)),
    "reset, then stop": Script(_RUNS, RESET, (STOP,)),
    "prepare, then complete": Script(_RUNS, PREPARE, (MOVE, COMPLETE), "second", HOST_2, LOCAL),
    "prepare, then rollback": Script(_RUNS, PREPARE, (ROLLBACK,), "second", root=LOCAL),
    "prepare, then stop": Script(_RUNS, PREPARE, (STOP,), root=LOCAL),
    "prepare, then destroy": Script(_RUNS, PREPARE, (UNDEFINE, DESTROY), root=LOCAL),
    "rollback, then prepare and complete": Script(
        (*_RUNS, PREPARE), ROLLBACK, (PREPARE, MOVE, COMPLETE), "second", HOST_2, LOCAL
    ),
    "rollback, then start": Script((*_RUNS, PREPARE), ROLLBACK, (AGAIN,), "third", root=LOCAL),
    "rollback, then destroy": Script((*_RUNS, PREPARE), ROLLBACK, (DESTROY,), root=LOCAL),
    "complete, then stop": Script((*_RUNS, PREPARE, MOVE), COMPLETE, (STOP,), root=LOCAL),
    "complete, then a reset": Script((*_RUNS, PREPARE, MOVE), COMPLETE, (RESET,), "fifth", HOST_2, LOCAL),
    "verify, then start": Script((*_RUNS, LOSE_DRIVE), VERIFY, (AGAIN,), "third"),
    "verify, then destroy": Script((*_RUNS, LOSE_DRIVE), VERIFY, (DESTROY,)),
    "ask a host, then start there": Script(
        (*_RUNS, DOWN, OFF, MOVE, ELSEWHERE, UP), ASK, (BACK, AGAIN), "third", root=LOCAL
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_worker_that_stood_still_leaves_all_as_the_newest_event_has_it(name: str, empty: redis.Redis) -> None:
    """Let go when the last event has ended, or when all was at rest: `make test-frozen` has every other moment."""
    script = SCRIPTS[name]
    calm = run(empty, script, None, None, at_once=False)
    assert list(calm.problems()) == []
    wrong = []
    for frozen, point in enumerate(calm.points):
        late = run(empty, script, frozen, None, at_once=True)
        for place in (late, run(empty, script, frozen, ENDED, at_once=False)):
            wrong += [f"stood still {point}, went on {place.went_on}: {problem}" for problem in place.problems()]
    assert wrong == []
