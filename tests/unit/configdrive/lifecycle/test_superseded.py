"""What is not done any more: its content is kept, and it holds up nothing, not even with lost keys."""

import pytest

from configdrive.contract.outcome import Status
from configdrive.errors import PermanentCode, StaleCode
from configdrive.lifecycle.reconcile import Waiting
from configdrive.lifecycle.state import Phase
from tests.unit.documents import Json
from tests.unit.fakes.fleet import HELLO, HOST_1, Fleet, moves, refused, running

# --- superseded -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["start", "deploy"])
@pytest.mark.parametrize("successor", ["stop", "destroy"])
def test_a_start_behind_which_a_stop_waits_is_not_done_but_remembered(fleet: Fleet, word: str, successor: str) -> None:
    settled = fleet.send(word, waiting=("update", successor), guest={"password": "kept"}, primary_storage="second")
    assert (settled.outcome.status, settled.outcome.code) == (Status.DROPPED, StaleCode.SUPERSEDED)
    assert successor in settled.outcome.detail
    assert fleet.cloud.verbs == []
    known = fleet.known()
    assert known.passwords.pending is not None
    assert (fleet.vm().primary_storage, known.sequence, known.phase) == ("second", 1, Phase.ABSENT)


@pytest.mark.parametrize("word", ["migrate", "password_reset", "update"])
@pytest.mark.parametrize("successor", ["stop", "destroy"])
def test_what_takes_away_supersedes_all_that_brings(fleet: Fleet, word: str, successor: str) -> None:
    running(fleet)
    data: Json = {"phase": "rollback"} if word == "migrate" else {}
    assert fleet.send(word, waiting=("start", successor), **data).outcome.code is StaleCode.SUPERSEDED


def test_a_stop_supersedes_no_stop_a_start_nothing_and_nothing_a_destroy(fleet: Fleet) -> None:
    running(fleet)
    assert fleet.send("stop", waiting=("stop", "start")).outcome.status is Status.APPLIED
    assert fleet.send("update", waiting=("start",)).outcome.status is Status.APPLIED
    assert fleet.send("start", waiting=("update", "password_reset", "start")).outcome.status is Status.APPLIED
    assert fleet.send("destroy", waiting=("destroy", "stop")).outcome.status is Status.APPLIED


@pytest.mark.parametrize("late", ["stop", "destroy"])
def test_what_came_out_of_order_supersedes_nothing_newer(fleet: Fleet, late: str) -> None:
    """start#10 waits, and stop#9 arrives after it: the start is done, and then the stop is too late."""
    running(fleet)
    start, behind = fleet.event("start", sequence=10), fleet.event(late, sequence=9)
    settled = fleet.handle(start, waiting=(Waiting(late, 9),))
    assert settled.outcome.status is Status.APPLIED
    outcome = fleet.handle(behind).outcome
    if late == "stop":
        assert outcome.code is StaleCode.STALE_SEQUENCE
        assert fleet.medium() is not None
    else:
        assert outcome.status is Status.APPLIED
        assert (fleet.medium(), fleet.generations()) == (None, [])


def test_a_destroy_is_never_stale(fleet: Fleet) -> None:
    running(fleet, sequence=1_000_000)
    assert fleet.send("destroy", sequence=3).gone
    assert fleet.generations() == []


def test_a_superseded_migration_says_where_the_vm_is(local: Fleet) -> None:
    local.send("migrate", phase="complete", host=None, waiting=("stop",))
    assert local.vm().host == "host-2"
    local.send("stop", host=None)
    assert (local.medium(), local.generations()) == (None, []), "it was still on the host before"


@pytest.mark.parametrize("phase", ["prepare", "rollback"])
def test_a_superseded_migration_names_a_host_that_may_have_the_drive(fleet: Fleet, phase: str) -> None:
    """Also of a VM of which a stop had to leave the drive behind, so that nothing of it is where the VM was."""
    running(fleet)
    fleet.cloud.down.add(HOST_1)
    fleet.send("stop", attempt=3)
    moves(fleet)
    fleet.send("migrate", phase=phase, waiting=("destroy",))
    left = fleet.send("destroy", attempt=3, host=None).outcome.facts["left_behind"]
    assert {"drive@host-1", "drive@host-2"} <= set(left.split(", "))


def test_a_password_survives_the_power_events_that_were_not_done(fleet: Fleet) -> None:
    fleet.send("deploy", waiting=("stop",), guest={"password": "kept"})
    fleet.send("start", waiting=("stop",))
    fleet.send("stop")
    fleet.send("start")
    assert fleet.password() == "kept"


def test_what_cannot_be_opened_does_not_hold_up_what_supersedes_it(fleet: Fleet) -> None:
    settled = fleet.send("start", waiting=("stop",), sealed="v1.ffffffffffffffff.AAAA", primary_storage="second")
    assert settled.outcome.code is StaleCode.SUPERSEDED
    assert "cannot be opened, and is lost" in settled.outcome.detail
    assert fleet.vm().primary_storage == "second"


def test_what_names_no_host_does_not_hold_up_what_supersedes_it(fleet: Fleet) -> None:
    settled = fleet.send("update", waiting=("destroy",), host=None)
    assert settled.outcome.code is StaleCode.SUPERSEDED
    assert settled.state is None


# --- lost keys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["start", "password_reset", "update", "migrate"])
def test_what_needs_the_content_is_refused_with_lost_keys(fleet: Fleet, word: str) -> None:
    running(fleet, guest=HELLO | {"password": "first"})
    fleet.sealer.lost = True
    assert refused(fleet, word, waiting=("start",)).code is PermanentCode.UNSEALABLE


@pytest.mark.parametrize(("booted", "password"), [(True, None), (False, "first")])
def test_a_stop_goes_through_with_lost_keys_and_loses_nothing_if_they_are_found_again(
    fleet: Fleet, password: str | None, *, booted: bool
) -> None:
    running(fleet, guest=HELLO | {"password": "first"})
    fleet.sealer.lost = True
    assert fleet.send("start", waiting=("stop",), guest={"password": "late"}).outcome.code is StaleCode.SUPERSEDED
    assert fleet.send("stop", booted=booted).outcome.status is Status.APPLIED
    assert (fleet.generations(), fleet.medium()) == ([], None)
    fleet.sealer.lost = False
    fleet.send("start")
    assert (fleet.password(), fleet.known().data.user_data is not None) == (password, True)


def test_with_lost_keys_a_vm_begins_anew_with_a_deploy(fleet: Fleet) -> None:
    running(fleet, guest=HELLO | {"password": "first"})
    fleet.sealer.lost = True
    assert fleet.send("deploy", start=True, guest={"password": "second"}).outcome.status is Status.APPLIED
    fleet.sealer.lost = False
    assert (fleet.password(), fleet.known().data.user_data) == ("second", None)


@pytest.mark.parametrize("word", ["start", "stop", "update", "migrate"])
def test_a_destroy_also_goes_through_behind_an_event_that_needs_the_lost_keys(fleet: Fleet, word: str) -> None:
    running(fleet, guest=HELLO | {"password": "first"})
    fleet.sealer.lost = True
    assert fleet.send(word, waiting=("destroy",)).outcome.code is StaleCode.SUPERSEDED
    assert fleet.send("destroy", host=None).gone, "the host is known from the event before"
    assert (fleet.medium(), fleet.generations()) == (None, [])


def test_keys_that_are_there_keep_what_a_destroy_supersedes(fleet: Fleet) -> None:
    """The destroy may be skipped by an operator yet."""
    running(fleet, guest=HELLO | {"password": "first"})
    fleet.send("update", waiting=("destroy",))
    assert fleet.known().data.user_data is not None
    assert fleet.known().passwords.carried is not None
