"""The state machine: what events tell without acting, which VMs have a drive, and any event on any state."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from pydantic import SecretBytes

from configdrive.contract.events import parse
from configdrive.drive_data import Metadata, VmData
from configdrive.lifecycle.state import Passwords, Phase, VmState
from configdrive.lifecycle.transitions import DriveGoal, Goal, Note, absorb, transition
from tests.unit import strategies
from tests.unit.configdrive.lifecycle.moves import (
    ABSENT,
    ATTACHED,
    CONFIG_DRIVE,
    DESTINATION,
    HOME,
    IMAGE,
    NEW,
    NOTHING_LEFT,
    OLD,
    STAGED,
    VIRTUAL_ROUTER,
    attached,
    guest_of,
    moved,
    staged,
)
from tests.unit.documents import Json, document, event

# --- what events tell -------------------------------------------------------------------------------------------------


def test_new_content_replaces_what_it_names_and_waits_for_the_next_start() -> None:
    came = moved(ATTACHED, "update", guest={"user_data": {"text": "new"}})
    assert came.state.data == replace(ATTACHED.data, user_data=SecretBytes(b"new"))
    assert (came.goal, came.note) == (None, Note.PENDING)


def test_a_deploy_begins_anew() -> None:
    known = replace(ATTACHED, wanted=False, password_enabled=False, adopted=True, destination=DESTINATION)
    came = moved(known, "deploy", guest={"metadata": {"vm_id": "15"}}).state
    assert came.data == VmData(metadata=Metadata(vm_id="15"))
    assert (came.passwords, came.password_enabled, came.wanted, came.adopted) == (Passwords(), True, True, False)
    assert (came.places, came.destination) == ((HOME,), None)


def test_a_vm_s_label_is_kept_until_another_one_is_given() -> None:
    labelled = moved(ABSENT, "deploy", label="config-2").state
    assert labelled.data.label == "config-2"
    assert moved(labelled, "start", sequence=6).state.data.label == "config-2"
    assert moved(labelled, "update", sequence=6, label="other").state.data.label == "other"


@pytest.mark.parametrize("word", ["deploy", "start", "password_reset", "update"])
def test_a_template_that_is_not_password_enabled_never_gets_one(word: str) -> None:
    came = moved(STAGED, word, live=True, password_enabled=False, guest={"password": "new"})
    assert came.state.passwords == Passwords()
    assert came.goal is None or came.goal.password is None
    assert came.note is (Note.PASSWORD_NOT_ENABLED if word == "password_reset" else came.note)
    later = moved(came.state, "password_reset", sequence=6, live=True, apply="now")
    assert (later.goal, later.note) == (None, Note.PASSWORD_NOT_ENABLED)
    assert later.state.passwords == Passwords()


def test_a_password_may_be_enabled_later() -> None:
    known = replace(ABSENT, password_enabled=False)
    assert moved(known, "start", password_enabled=True, guest={"password": "new"}).goal == attached(NEW)


def test_an_event_that_is_only_absorbed_keeps_everything_it_tells() -> None:
    sent = event("start", sequence=5, host="host-2", label="l", guest={"password": "new", "user_data": {"text": "new"}})
    came = absorb(ATTACHED, sent, guest_of(sent))
    assert came.vm is not None
    assert came.vm.host == "host-2"
    assert came.passwords == Passwords(pending=NEW, carried=OLD)
    assert came.data == replace(ATTACHED.data, user_data=SecretBytes(b"new"), label="l")
    assert (came.sequence, came.phase, came.image) == (5, ATTACHED.phase, ATTACHED.image)


@pytest.mark.parametrize(
    ("guest", "adopted"),
    [(None, True), ({"password": "new"}, True), ({"metadata": {"vm_id": "1"}}, False), ({"user_data": None}, False)],
)
def test_a_found_drive_is_the_fleet_s_own_again_when_a_start_brings_its_content(guest: Json, *, adopted: bool) -> None:
    known = replace(ATTACHED, adopted=True)
    assert moved(known, "start", guest=guest).state.adopted is adopted
    assert moved(known, "update", guest=guest).state.adopted is True
    assert moved(known, "stop").state.adopted is True


# --- not every VM has a config drive ----------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["deploy", "start", "stop", "password_reset", "update", "migrate"])
def test_a_vm_without_config_drive_has_no_goal(word: str) -> None:
    known = moved(VmState(), "deploy", network_offering=VIRTUAL_ROUTER).state
    came = moved(known, word, sequence=6, live=True, **{"network_offering": VIRTUAL_ROUTER} if word == "deploy" else {})
    assert (came.goal, came.note) == (None, Note.NO_CONFIG_DRIVE)
    assert (came.state.image, came.state.phase) == (None, Phase.ABSENT)


def test_a_vm_without_config_drive_is_destroyed_like_any_other() -> None:
    known = moved(VmState(), "deploy", network_offering=VIRTUAL_ROUTER).state
    assert moved(known, "destroy", sequence=6).goal == NOTHING_LEFT


@pytest.mark.parametrize("word", ["deploy", "start"])
def test_what_an_earlier_offering_left_behind_goes(word: str) -> None:
    came = moved(ATTACHED, word, network_offering=VIRTUAL_ROUTER)
    assert (came.goal, came.note) == (NOTHING_LEFT, Note.NO_CONFIG_DRIVE)
    assert (came.state.image, came.state.phase, came.state.wanted) == (None, Phase.ABSENT, False)


def test_what_an_earlier_offering_left_behind_goes_with_a_stop_and_moves_with_a_migration() -> None:
    known = moved(ATTACHED, "update", network_offering=VIRTUAL_ROUTER)
    assert known.goal is None
    assert moved(known.state, "stop", sequence=6).goal == NOTHING_LEFT
    goal = Goal(DriveGoal.ATTACHED, IMAGE, password=OLD)
    assert moved(known.state, "migrate", sequence=6).goal == goal


def test_places_that_could_not_be_cleared_are_left_behind_too() -> None:
    known = replace(ABSENT, wanted=False, places=(HOME,))
    assert moved(known, "start").goal == NOTHING_LEFT


def test_a_new_offering_gives_the_drive_back() -> None:
    known = replace(ABSENT, wanted=False)
    assert moved(known, "start", network_offering=CONFIG_DRIVE).goal == attached(None)
    assert moved(known, "deploy").goal == staged(None), "a deploy that names no offering has a config drive"


# --- any event on any state -------------------------------------------------------------------------------------------


@given(strategies.states, strategies.documents())
def test_any_event_on_any_state_has_a_sound_goal(known: VmState, sent: Json) -> None:
    sent["data"]["host"] = "host-1"
    parsed = parse(json.dumps(sent))
    guest = guest_of(parsed)
    for live in (True, False):
        came = transition(known, parsed, guest, live=live)
        goal = came.goal
        assert came.state.sequence == max(parsed.data.sequence, known.sequence)
        if goal is None:
            assert came.state.phase is known.phase
        elif goal.image is None:
            assert goal.drive is DriveGoal.EMPTY
            assert came.state.phase in {Phase.ABSENT, Phase.GONE}
            assert came.state.image is None
        else:
            assert goal.drive is not DriveGoal.EMPTY
            assert came.state.image == goal.image
            assert goal.password in {None, known.passwords.pending, known.passwords.carried, guest.password}


@given(strategies.states)
def test_a_live_vm_is_the_only_one_whose_medium_is_exchanged_at_once(known: VmState) -> None:
    for word, data in (("update", {"apply": "now"}), ("password_reset", {"apply": "now"})):
        sent = document(word, sequence=9, **data)
        parsed = parse(json.dumps(sent))
        assert transition(known, parsed, guest_of(parsed), live=False).goal is None
