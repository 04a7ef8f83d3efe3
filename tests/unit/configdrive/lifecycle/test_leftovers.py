"""A host is away: events end, say what they left behind, and hold nothing up elsewhere."""

import pytest

from configdrive.contract.outcome import Status
from configdrive.errors import PermanentCode, PermanentError, StaleCode, TransientCode, TransientError
from configdrive.lifecycle.reconcile import Attempt
from configdrive.lifecycle.state import Phase, Sealed
from configdrive.model import PowerState, StorageName, VmUuid
from tests.support import error_of
from tests.unit.documents import OTHER_UUID
from tests.unit.fakes.cloud import At, Machine
from tests.unit.fakes.fleet import (
    AT_DESTINATION,
    AT_SOURCE,
    HOST_1,
    HOST_2,
    LOCAL,
    PRIMARY,
    VM,
    Fleet,
    clean,
    fails,
    leaves,
    left_places,
    places_of,
    record,
    running,
    starts_elsewhere,
)

# --- the event --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "phase"), [("stop", Phase.ABSENT), ("destroy", Phase.GONE)])
def test_an_event_that_takes_away_waits_twice_for_a_host_and_then_leaves_it(
    local: Fleet, word: str, phase: Phase
) -> None:
    local.cloud.down.add(HOST_1)
    event = local.event(word)
    before = local.remembered
    for attempt in (1, 2):
        assert error_of(local.handle, event, attempt=attempt).code is TransientCode.HOST_UNREACHABLE
        assert local.remembered == before
    settled = local.handle(event, attempt=3)
    outcome = settled.outcome
    assert (outcome.status, outcome.code) == (Status.APPLIED, TransientCode.HOST_UNREACHABLE)
    assert outcome.facts == {"attach": "left", "left_behind": "drive@host-1, local@host-1"}
    assert "host host-1 does not answer" in outcome.detail
    assert "configdrive sweep" in outcome.remedy
    known = record(local)
    assert known.sealed == (Sealed(data=known.sealed.data) if word == "stop" else Sealed()), (
        "what was carried is used up"
    )
    assert (known.phase, known.left_on, known.places, left_places(local)) == (phase, (HOST_1,), (), {AT_SOURCE})
    assert (settled.gone, settled.left_on) == (False, (HOST_1,)), "the tombstone must outlast what is left"
    assert known.vm is not None, "who it was is needed to take away what is left"
    assert local.generations() == [2]


@pytest.mark.parametrize(("word", "behind"), [("stop", "start"), ("destroy", "update")])
def test_it_leaves_the_host_at_once_when_an_event_waits_behind_it(local: Fleet, word: str, behind: str) -> None:
    local.cloud.down.add(HOST_1)
    settled = local.send(word, waiting=(behind,))
    assert (settled.outcome.status, settled.left_on) == (Status.APPLIED, (HOST_1,))


@pytest.mark.parametrize("word", ["start", "password_reset", "update", "migrate"])
def test_an_event_that_brings_something_never_leaves_its_host(local: Fleet, word: str) -> None:
    local.cloud.down.update({HOST_1, HOST_2})
    data = {} if word in {"start", "migrate"} else {"apply": "now"}
    event = local.event(word, **data)
    assert error_of(local.handle, event, attempt=99, waiting=("update",)).code is TransientCode.HOST_UNREACHABLE


@pytest.mark.parametrize("word", ["stop", "destroy"])
def test_a_storage_that_is_down_ends_no_stop_and_is_finished_later(local: Fleet, word: str) -> None:
    local.cloud.down.add(LOCAL)
    settled = local.send(word)
    assert (settled.outcome.status, settled.outcome.facts["left_behind"]) == (Status.APPLIED, "local@host-1")
    assert local.medium() is None
    assert (settled.left_on, settled.gone) == ((HOST_1,), False)
    local.cloud.down.clear()
    assert clean(local).left_on == ()
    assert local.generations() == []


@pytest.mark.parametrize("word", ["stop", "destroy"])
@pytest.mark.parametrize(
    "error",
    [
        TransientError(TransientCode.VM_BUSY, "the VM is suspended"),
        TransientError(TransientCode.DRIVE_LOCKED, "the guest holds the tray"),
        TransientError(TransientCode.HYPERVISOR_ERROR, "hung"),
    ],
)
def test_a_stop_ends_after_three_attempts_or_a_minute_whatever_is_broken(
    local: Fleet, word: str, error: TransientError
) -> None:
    local.breaks("detach", error)
    event = local.event(word)
    with pytest.raises(TransientError):
        local.handle(event, attempt=2, waited=59.0)
    settled = local.handle(event, attempt=1, waited=60.0)
    assert (settled.outcome.status, settled.outcome.code) == (Status.APPLIED, error.code)
    assert "drive@host-1" in settled.outcome.facts["left_behind"]
    local.mended()
    clean(local)
    assert (local.medium(), local.generations(), record(local).left_on) == (None, [], ())


def test_what_trying_again_cannot_help_ends_a_stop_at_once(local: Fleet) -> None:
    local.breaks("detach", PermanentError(PermanentCode.ACCESS_DENIED, "not allowed"))
    outcome = local.send("stop").outcome
    assert (outcome.status, outcome.code) == (Status.APPLIED, PermanentCode.ACCESS_DENIED)


def test_a_queue_that_gives_a_stop_up_has_it_left_behind(local: Fleet) -> None:
    """Time limits, dead workers and what nobody foresaw are the queue's to see."""
    event = local.event("stop")
    error = PermanentError(PermanentCode.UNCLASSIFIED, "workers died")
    settled = local.reconciler.leave(Attempt(event, local.remembered, (), 3, local.lease), error)
    assert (settled.outcome.status, settled.outcome.code) == (Status.APPLIED, PermanentCode.UNCLASSIFIED)
    assert settled.left_on == (HOST_1,)


def test_a_host_that_goes_away_in_the_middle_of_a_stop_is_left_behind(local: Fleet) -> None:
    def fail(verb: str, at: At) -> None:
        if (verb, at) == ("detach", At.AFTER):
            local.cloud.down.add(HOST_1)

    local.cloud.hook = fail
    assert local.send("stop").left_on == (HOST_1,)


def test_a_late_event_for_a_destroyed_vm_that_left_something_keeps_its_tombstone(local: Fleet) -> None:
    leaves(local, "destroy")
    late = local.send("start")
    assert (late.outcome.code, late.state, late.gone) == (StaleCode.VM_GONE, None, False)


# --- elsewhere meanwhile ----------------------------------------------------------------------------------------------


def test_a_stopped_vm_starts_on_another_host_and_the_first_gives_up_what_it_has_later(local: Fleet) -> None:
    leaves(local)
    kept = starts_elsewhere(local)
    assert local.user_data() == b"hello"
    assert record(local).left_on == (HOST_1,)
    assert AT_SOURCE in left_places(local)
    medium = local.medium()
    local.cloud.down.clear()
    kept.power = PowerState.HALTED
    after = clean(local)
    assert (after.left_on, after.places) == ((), (AT_DESTINATION,))
    assert kept.medium is None
    assert places_of(local) == {AT_DESTINATION}
    assert (local.medium(), local.user_data()) == (medium, b"hello")


@pytest.mark.parametrize("away", [True, False])
def test_a_start_on_another_host_without_a_stop_needs_no_old_host_and_empties_its_drive(
    local: Fleet, *, away: bool
) -> None:
    local.cloud.down |= {HOST_1} if away else set()
    local.power(PowerState.HALTED)
    kept = starts_elsewhere(local)
    assert (record(local).left_on, local.user_data()) == ((HOST_1,) if away else (), b"hello")
    assert (kept.medium is not None) is away
    if away:
        local.cloud.down.clear()
        assert clean(local).left_on == ()
        assert kept.medium is None
    assert places_of(local) == {AT_DESTINATION}


@pytest.mark.parametrize("storage", [LOCAL, PRIMARY])
@pytest.mark.parametrize("word", ["start", "deploy"])
def test_a_host_that_is_back_and_was_not_asked_yet_holds_nothing_up(fleet: Fleet, word: str, storage: str) -> None:
    fleet.machine.root = StorageName(storage)
    running(fleet)
    leaves(fleet)
    fleet.cloud.down.clear()
    fleet.power(PowerState.HALTED)
    kept = starts_elsewhere(fleet, word)
    assert clean(fleet).left_on == ()
    assert kept.medium is None
    assert fleet.generations() == [fleet.sequence]


def test_what_runs_on_in_the_wrong_place_holds_up_no_start_and_goes_after_the_stop(local: Fleet) -> None:
    leaves(local)
    local.cloud.down.clear()
    kept = starts_elsewhere(local)
    assert kept.medium is not None
    assert (record(local).left_on, record(local).places) == ((HOST_1,), (AT_DESTINATION,))
    for power in (PowerState.RUNNING, PowerState.PAUSED):
        kept.power = power
        error = fails(local)
        assert (error.code, "host-1" in error.detail) == (TransientCode.VM_BUSY, True)
    local.send("stop", host=HOST_2)
    clean(local)
    assert kept.medium is None, "a stop means every host"
    assert local.generations() == []  # type: ignore[unreachable]  # the stop has changed it


def test_a_clone_s_definition_holds_no_stop_and_no_destroy_up(local: Fleet) -> None:
    """Another VM's definition names this VM's image: a clone, or a copy that was restored."""
    (image,) = local.cloud.images_of(VM)
    local.cloud.remains.append((VmUuid(OTHER_UUID), Machine(HOST_1, LOCAL, slot=True, medium=image)))
    settled = local.send("stop")
    assert (settled.outcome.status, settled.outcome.facts) == (Status.APPLIED, {"attach": "removed"})
    assert local.generations() == []


def test_an_image_that_cannot_be_deleted_is_left_behind_and_fails_nothing(local: Fleet) -> None:
    local.breaks("delete", PermanentError(PermanentCode.ACCESS_DENIED, "not allowed"))
    settled = local.send("start")
    assert (settled.outcome.status, settled.outcome.facts["left_behind"]) == (Status.APPLIED, "local@host-1")
    local.mended()
    assert local.send("start").left_on == (), "the next event on that host asks again"
    assert local.generations() == [local.sequence]


def test_a_prepared_migration_removes_no_leftover(local: Fleet) -> None:
    leaves(local)
    starts_elsewhere(local)
    assert local.send("migrate", phase="prepare", host=None, destination="host-2").left_on == (HOST_1,)


@pytest.mark.parametrize("word", ["stop", "destroy"])
@pytest.mark.parametrize("ends", [True, False])
def test_a_stop_or_destroy_says_what_earlier_events_have_left(local: Fleet, word: str, *, ends: bool) -> None:
    local.cloud.down.add(HOST_1)
    starts_elsewhere(local)
    if not ends:
        local.cloud.down.add(HOST_2)
    said = local.send(word, host=HOST_2, attempt=3).outcome.facts["left_behind"]
    assert "drive@host-1" in said
    assert "local@host-1" in said
    assert ("local@host-2" in said) is not ends


def test_a_deploy_does_not_make_forget_the_drive_that_another_host_has(fleet: Fleet) -> None:
    running(fleet)
    fleet.power(PowerState.HALTED)
    fleet.send("deploy")
    kept = starts_elsewhere(fleet)
    assert kept.medium is None
    assert fleet.generations() == [4]
