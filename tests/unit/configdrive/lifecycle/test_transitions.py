"""The state machine: each row of the table in `configdrive.lifecycle.transitions`, where a VM is, and any event."""

import json
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from pydantic import SecretBytes, SecretStr

from configdrive.contract.events import ContentEvent, LifecycleEvent, PasswordResetEvent, UpdateEvent, parse
from configdrive.contract.guest_data import GuestData
from configdrive.drive_data import Metadata, VmData
from configdrive.errors import PermanentCode, PermanentError
from configdrive.lifecycle import transitions
from configdrive.lifecycle.state import ImageRecord, Passwords, Phase, VmState
from configdrive.lifecycle.transitions import DriveGoal, Goal, Note, Transition, absorb, transition, vm_of
from configdrive.model import AttachBy, Generation, GuestOs, HostName, Place, Presentation, StorageName, VmDefinition
from tests.unit import strategies
from tests.unit.documents import UUID, Json, event

OLD, NEW = SecretStr("old"), SecretStr("new")
HOME = Place(StorageName("primary"))
FILE = f"vm.{UUID}.3.iso"
IMAGE = ImageRecord(FILE, Generation(3), 1.0)
SOURCE, DESTINATION = HostName("host-1"), HostName("host-2")
VIRTUAL_ROUTER = {"services": {"UserData": "VirtualRouter"}}
CONFIG_DRIVE = {"services": {"UserData": "ConfigDrive"}}
BUILT_AT = 1_773_126_780.0
"""The time of every event here, in seconds since 1970."""

ATTACHED = VmState(
    vm=vm_of(None, event("deploy")),
    sequence=4,
    phase=Phase.ATTACHED,
    data=VmData(metadata=Metadata(vm_id="14"), user_data=SecretBytes(b"known")),
    passwords=Passwords(carried=OLD),
    image=IMAGE,
    places=(HOME,),
)
RESET = replace(ATTACHED, passwords=Passwords(pending=NEW, carried=OLD))
STAGED = replace(ATTACHED, phase=Phase.STAGED, passwords=Passwords(pending=OLD))
ABSENT = replace(ATTACHED, phase=Phase.ABSENT, passwords=Passwords(), image=None, places=())

FRESH = ImageRecord("", Generation(5), BUILT_AT)
"""The image of an event with the number 5."""

NOTHING_LEFT = Goal(DriveGoal.EMPTY)


def moved(known: VmState, word: str, *, live: bool = False, **data: object) -> Transition:
    sent = event(word, **{"sequence": 5} | data)
    return transition(known, sent, guest_of(sent), live=live)


def guest_of(sent: LifecycleEvent) -> GuestData:
    return (sent.data.guest if isinstance(sent, ContentEvent) else None) or GuestData()


def staged(password: SecretStr | None) -> Goal:
    return Goal(DriveGoal.AS_IT_IS, FRESH, fresh=True, password=password)


def attached(password: SecretStr | None) -> Goal:
    return Goal(DriveGoal.ATTACHED, FRESH, fresh=True, password=password)


# --- the table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One situation: the event's row in the table, what is known, and what must come of it."""

    row: str
    known: VmState
    goal: Goal | None
    passwords: Passwords
    phase: Phase
    live: bool = False


PENDING_NEW, CARRIED_NEW = Passwords(pending=NEW), Passwords(carried=NEW)
PENDING_OLD, CARRIED_OLD, NO_PASSWORD = Passwords(pending=OLD), Passwords(carried=OLD), Passwords()

EVENTS: dict[str, tuple[str, Json]] = {
    "deploy": ("deploy", {"guest": {"password": "new"}}),
    "deploy, `start`": ("deploy", {"start": True, "guest": {"password": "new"}}),
    "start": ("start", {}),
    "start, `ensure`": ("start", {"ensure": IMAGE.generation}),
    "stop": ("stop", {}),
    "stop, `booted: false`": ("stop", {"booted": False}),
    "migrate, prepare": ("migrate", {"phase": "prepare"}),
    "migrate, complete": ("migrate", {"phase": "complete"}),
    "migrate, rollback": ("migrate", {"phase": "rollback"}),
    "password_reset": ("password_reset", {"guest": {"password": "new"}}),
    "password_reset, now, live": ("password_reset", {"guest": {"password": "new"}, "apply": "now"}),
    "update": ("update", {}),
    "update, now, live": ("update", {"apply": "now"}),
    "update, password_delivered": ("update", {"password_delivered": True}),
    "destroy": ("destroy", {}),
}

ROWS = [
    Row("deploy", VmState(), staged(NEW), PENDING_NEW, Phase.STAGED),
    Row("deploy", ATTACHED, staged(NEW), PENDING_NEW, Phase.STAGED),
    Row("deploy, `start`", VmState(), attached(NEW), CARRIED_NEW, Phase.ATTACHED),
    Row("start", STAGED, attached(OLD), CARRIED_OLD, Phase.ATTACHED),
    Row("start", ATTACHED, attached(OLD), CARRIED_OLD, Phase.ATTACHED),
    Row("start", ABSENT, attached(None), NO_PASSWORD, Phase.ATTACHED),
    Row("start", RESET, attached(NEW), CARRIED_NEW, Phase.ATTACHED),
    Row("start, `ensure`", ATTACHED, Goal(DriveGoal.ATTACHED, IMAGE, password=OLD), CARRIED_OLD, Phase.ATTACHED),
    Row("start, `ensure`", STAGED, attached(OLD), CARRIED_OLD, Phase.ATTACHED),
    Row("start, `ensure`", RESET, attached(NEW), CARRIED_NEW, Phase.ATTACHED),
    Row("stop", ATTACHED, NOTHING_LEFT, NO_PASSWORD, Phase.ABSENT),
    Row("stop", STAGED, NOTHING_LEFT, PENDING_OLD, Phase.ABSENT),
    Row("stop", RESET, NOTHING_LEFT, PENDING_NEW, Phase.ABSENT),
    Row("stop, `booted: false`", ATTACHED, NOTHING_LEFT, PENDING_OLD, Phase.ABSENT),
    Row("stop, `booted: false`", RESET, NOTHING_LEFT, PENDING_NEW,
        Phase.ABSENT),
    Row("migrate, prepare", ATTACHED, Goal(DriveGoal.AS_IT_IS, IMAGE, password=OLD, others_go=False), CARRIED_OLD,
        Phase.ATTACHED),
    Row("migrate, prepare", STAGED, Goal(DriveGoal.AS_IT_IS, IMAGE, password=OLD, others_go=False), PENDING_OLD,
        Phase.STAGED),
    Row("migrate, prepare", ABSENT, None, NO_PASSWORD, Phase.ABSENT),
    Row("migrate, complete", ATTACHED, Goal(DriveGoal.ATTACHED, IMAGE, password=OLD), CARRIED_OLD,
        Phase.ATTACHED),
    Row("migrate, complete", STAGED, Goal(DriveGoal.AS_IT_IS, IMAGE, password=OLD), PENDING_OLD, Phase.STAGED),
    Row("migrate, complete", ABSENT, None, NO_PASSWORD, Phase.ABSENT),
    Row("migrate, rollback", ATTACHED, Goal(DriveGoal.ATTACHED, IMAGE, password=OLD), CARRIED_OLD,
        Phase.ATTACHED),
    Row("migrate, rollback", STAGED, Goal(DriveGoal.AS_IT_IS, IMAGE, password=OLD), PENDING_OLD, Phase.STAGED),
    Row("password_reset", ATTACHED, None, Passwords(NEW, OLD), Phase.ATTACHED),
    Row("password_reset", ATTACHED, None, Passwords(NEW, OLD), Phase.ATTACHED, live=True),
    Row("password_reset, now, live", ATTACHED, attached(NEW), CARRIED_NEW, Phase.ATTACHED, live=True),
    Row("password_reset, now, live", ATTACHED, None, Passwords(NEW, OLD), Phase.ATTACHED, live=False),
    Row("update", ATTACHED, None, CARRIED_OLD, Phase.ATTACHED, live=True),
    Row("update, now, live", ATTACHED, attached(OLD), CARRIED_OLD, Phase.ATTACHED, live=True),
    Row("update, now, live", RESET, attached(OLD), Passwords(NEW, OLD),
        Phase.ATTACHED, live=True),
    Row("update, now, live", STAGED, None, PENDING_OLD, Phase.STAGED, live=False),
    Row("update, password_delivered", ATTACHED, attached(None), NO_PASSWORD, Phase.ATTACHED, live=True),
    Row("update, password_delivered", RESET, attached(None), PENDING_NEW,
        Phase.ATTACHED, live=True),
    Row("update, password_delivered", ATTACHED, None, NO_PASSWORD, Phase.ATTACHED, live=False),
    Row("destroy", ATTACHED, NOTHING_LEFT, NO_PASSWORD, Phase.GONE),
    Row("destroy", VmState(), NOTHING_LEFT, NO_PASSWORD, Phase.GONE),
]  # fmt: skip


def in_words(row: Row) -> str:
    known = [row.known.phase.value]
    known += ["pending"] if row.known.passwords.pending else []
    known += ["carried"] if row.known.passwords.carried else []
    known += ["live"] if row.live else []
    return f"{row.row} when {' '.join(known)}"


@pytest.mark.parametrize("row", ROWS, ids=in_words)
def test_each_row_of_the_table(row: Row) -> None:
    word, data = EVENTS[row.row]
    came = moved(row.known, word, live=row.live, **data)
    assert came.goal == row.goal
    assert (came.state.passwords, came.state.phase) == (row.passwords, row.phase)


def test_the_table_for_readers_has_exactly_these_rows() -> None:
    table = [line for line in (transitions.__doc__ or "").splitlines() if line.startswith("|")]
    names = [line.split("|")[1].strip() for line in table[2:]]
    assert set(names) == set(EVENTS) == {row.row for row in ROWS}
    phases = {name: line.split("|")[4].strip() for name, line in zip(names, table[2:], strict=True)}
    for row in ROWS:
        if phases[row.row] in set(Phase.__members__):
            assert phases[row.row] == row.phase.name or row.goal is None


# --- the VM's place ---------------------------------------------------------------------------------------------------


def test_a_start_that_ensures_another_than_the_newest_drive_makes_a_fresh_one() -> None:
    assert moved(ATTACHED, "start", ensure=IMAGE.generation + 1).goal == attached(OLD)


@pytest.mark.parametrize(
    ("phase", "host", "destination"),
    [("prepare", SOURCE, DESTINATION), ("complete", DESTINATION, None), ("rollback", SOURCE, None)],
)
def test_a_migration_moves_the_vm_when_it_is_complete(phase: str, host: str, destination: str | None) -> None:
    prepared = moved(ATTACHED, "migrate", phase="prepare").state
    came = moved(prepared, "migrate", phase=phase, sequence=6, host=None).state
    assert came.vm is not None
    assert (came.vm.host, came.destination) == (host, destination)


@pytest.mark.parametrize("host", [None, SOURCE, DESTINATION])
def test_a_second_complete_has_no_host_to_leave(host: HostName | None) -> None:
    there = moved(ATTACHED, "migrate").state
    assert moved(there, "migrate", sequence=6, host=host).goal == Goal(DriveGoal.ATTACHED, IMAGE, password=OLD)


@pytest.mark.parametrize("word", ["start", "stop"])
def test_a_power_event_ends_a_prepared_migration(word: str) -> None:
    prepared = moved(ATTACHED, "migrate", phase="prepare").state
    assert moved(prepared, word, sequence=6).state.destination is None


def test_where_the_event_is_silent_the_vm_stays_as_it_is_known() -> None:
    known = vm_of(
        None,
        event(
            "deploy",
            primary_storage="p",
            zone="z",
            attach="orchestrator",
            presentation="disk",
            guest_os="windows",
            definition={"machine": "q35"},
            host="host-9",
        ),
    )
    assert vm_of(known, event("stop", host=None)) == known
    assert (known.attach_by, known.presentation) == (AttachBy.ORCHESTRATOR, Presentation.DISK)
    assert known.guest_os is GuestOs.WINDOWS
    assert vm_of(known, event("stop")).guest_os is GuestOs.WINDOWS
    assert vm_of(known, event("stop")).definition == VmDefinition("q35")
    changed = vm_of(known, event("stop", host="h", primary_storage="q", zone="y", attach="fleet", presentation="cdrom"))
    assert changed.host == "h"
    assert (changed.primary_storage, changed.zone) == ("q", "y")
    assert (changed.attach_by, changed.presentation) == (AttachBy.FLEET, Presentation.CDROM)


@pytest.mark.parametrize("word", ["stop", "destroy", "update", "password_reset", "migrate"])
def test_without_any_host_the_event_is_refused(word: str) -> None:
    with pytest.raises(PermanentError, match=r"data\.host") as caught:
        moved(VmState(), word, host=None)
    assert caught.value.code is PermanentCode.INVALID_EVENT
    assert caught.value.remedy


# --- what events tell -------------------------------------------------------------------------------------------------


def test_a_deploy_begins_anew() -> None:
    known = replace(ATTACHED, wanted=False, password_enabled=False, adopted=True, destination=DESTINATION)
    came = moved(known, "deploy", guest={"metadata": {"vm_id": "15"}}).state
    assert came.data == VmData(metadata=Metadata(vm_id="15"))
    assert (came.passwords, came.password_enabled, came.wanted, came.adopted) == (Passwords(), True, True, False)
    assert (came.places, came.destination) == ((HOME,), None)


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


# --- not every VM has a config drive: what becomes of what there is, `test_storages.py` shows -------------------------


def test_a_vm_without_config_drive_is_destroyed_like_any_other() -> None:
    known = moved(VmState(), "deploy", network_offering=VIRTUAL_ROUTER).state
    assert moved(known, "destroy", sequence=6).goal == NOTHING_LEFT


def test_what_an_earlier_offering_left_behind_moves_with_a_migration() -> None:
    known = moved(ATTACHED, "update", network_offering=VIRTUAL_ROUTER)
    assert known.goal is None
    assert moved(known.state, "migrate", sequence=6).goal == Goal(DriveGoal.ATTACHED, IMAGE, password=OLD)


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
        if isinstance(parsed, PasswordResetEvent | UpdateEvent) and not live:
            assert goal is None, "only what is live has its medium exchanged"
