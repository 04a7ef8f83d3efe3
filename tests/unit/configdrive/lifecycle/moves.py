"""Known states and the moves of events on them, for the tests of the state machine."""

from __future__ import annotations

from dataclasses import replace

from pydantic import SecretBytes, SecretStr

from configdrive.contract.events import ContentEvent, LifecycleEvent
from configdrive.contract.guest_data import GuestData
from configdrive.drive_data import Metadata, VmData
from configdrive.lifecycle.state import ImageRecord, Passwords, Phase, VmState
from configdrive.lifecycle.transitions import DriveGoal, Goal, Transition, transition, vm_of
from configdrive.model import Generation, HostName, Place, StorageName
from tests.unit.documents import UUID, event

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
