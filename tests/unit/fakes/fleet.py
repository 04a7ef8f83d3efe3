"""A reconciler with everything around it in memory, driven by events as an orchestrator sends them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from configdrive.contents.render import Files
from configdrive.contract.events import LifecycleEvent, parse
from configdrive.errors import FleetError
from configdrive.iso import read
from configdrive.iso.ecma119 import SECTOR
from configdrive.iso.verify import verify
from configdrive.lifecycle import state
from configdrive.lifecycle.reconcile import Attempt, Reconciler, Waiting
from configdrive.lifecycle.settled import Settled
from configdrive.lifecycle.state import VmState
from configdrive.model import (
    DriveSettings,
    Generation,
    HostName,
    ImageName,
    InstanceName,
    Place,
    PowerState,
    StorageName,
    StoredImage,
    VmUuid,
)
from tests.support import error_of
from tests.unit.documents import UUID, Json, document
from tests.unit.fakes.cloud import Cloud, Machine, MemoryDriver
from tests.unit.fakes.small import FakeClock, FakeLease, FakeNamer, FakeSealer, RecordingObserver

VM = VmUuid(UUID)
HOST_1, HOST_2 = HostName("host-1"), HostName("host-2")
PRIMARY, SECOND, LOCAL = StorageName("primary"), StorageName("second"), StorageName("local")
HOME = Place(PRIMARY)
AT_SOURCE, AT_DESTINATION = Place(LOCAL, HOST_1), Place(LOCAL, HOST_2)
HELLO: Json = {"user_data": {"text": "hello"}, "metadata": {"vm_id": "14"}}


@dataclass
class Fleet:
    """One VM's fleet. Each event gets the next sequence number; what it settles is remembered, as the queue does."""

    cloud: Cloud = field(default_factory=Cloud)
    sealer: FakeSealer = field(default_factory=FakeSealer)
    namer: FakeNamer = field(default_factory=FakeNamer)
    clock: FakeClock = field(default_factory=FakeClock)
    observer: RecordingObserver = field(default_factory=RecordingObserver)
    lease: FakeLease = field(default_factory=FakeLease)
    remembered: str | None = None
    sequence: int = 0

    def __post_init__(self) -> None:
        self.driver = MemoryDriver(self.cloud)
        self.reconciler = Reconciler(
            {self.driver.name: self.driver}, self.sealer, self.namer, self.clock, self.observer, drives=DriveSettings()
        )
        self.cloud.machines.setdefault(VM, Machine(HOST_1, PRIMARY))

    # --- the orchestrator -----------------------------------------------------------------------------------------

    @property
    def machine(self) -> Machine:
        return self.cloud.machines[VM]

    def medium(self) -> StoredImage | None:
        """What is in the VM's drive."""
        return self.machine.medium

    def power(self, state_: PowerState) -> None:
        self.machine.power = state_

    def event(self, word: str, **data: Any) -> LifecycleEvent:  # noqa: ANN401 - fields of an event
        self.sequence += 1
        return parse(json.dumps(document(word, **{"sequence": self.sequence} | data)))

    def send(
        self,
        word: str,
        *,
        waiting: tuple[str, ...] = (),
        attempt: int = 1,
        **data: Any,  # noqa: ANN401 - as above
    ) -> Settled:
        """Make an attempt at one event, and remember what came of it."""
        return self.handle(self.event(word, **data), waiting=waiting, attempt=attempt)

    def handle(
        self, event: LifecycleEvent, *, waiting: tuple[str | Waiting, ...] = (), attempt: int = 1, waited: float = 0.0
    ) -> Settled:
        newer = event.data.sequence + 1
        behind = tuple(one if isinstance(one, Waiting) else Waiting(one, newer) for one in waiting)
        settled = self.reconciler.handle(
            Attempt(event, self.remembered, behind, attempt, self.lease, tuple(self.lease.intents), waited)
        )
        self.lease.intents = [one for one in self.lease.intents if one not in settled.intents]
        if settled.state is not None:
            self.remembered = settled.state
        return settled

    # --- what came of it ------------------------------------------------------------------------------------------

    def known(self) -> VmState:
        return state.load(self.remembered, self.sealer, VM)

    def generations(self) -> list[int]:
        """The generations of the VM's images on all storages."""
        return sorted(stored.name.generation for stored in self.cloud.images_of(VM))

    def files(self) -> dict[str, bytes] | None:
        """What the guest reads from its config drive."""
        content = self.cloud.medium(VM)
        return None if content is None else read_image(content)

    def password(self) -> str | None:
        """The password on the attached drive."""
        files = self.files()
        assert files is not None, "no drive is attached"
        password = files.get("cloudstack/password/vm_password.txt")
        return None if password is None else password.decode()

    def user_data(self) -> bytes | None:
        files = self.files()
        assert files is not None, "no drive is attached"
        return files.get("cloudstack/userdata/user_data.txt")

    def label(self) -> str:
        content = self.cloud.medium(VM)
        assert content is not None, "no drive is attached"
        return read.read(content).label


def read_image(content: bytes) -> dict[str, bytes]:
    """Read all files of an image; half an image fails."""
    volume = read.read(content)
    files = {
        path: content[node.extent * SECTOR :][: node.size]
        for path, node in volume.primary.items()
        if not node.is_directory
    }
    verify(content, Files(files), volume.label)
    return files


def foreign_image(cloud: Cloud, uuid: str, generation: int = 1) -> StoredImage:
    """Put an image of some VM onto the primary storage, past the fleet."""
    name = ImageName.of(InstanceName("i-2-99-VM"), VmUuid(uuid), Generation(generation))
    foreign = StoredImage(name, cloud.place(PRIMARY, HOST_1))
    cloud.files[foreign] = b"not for you"
    return foreign


def running(fleet: Fleet, **data: Any) -> Fleet:  # noqa: ANN401 - fields of an event
    """Deploy, start and boot the VM."""
    fleet.send("deploy", **{"guest": HELLO} | data)
    fleet.send("start")
    fleet.power(PowerState.RUNNING)
    return fleet


def refused(fleet: Fleet, word: str, **data: Any) -> FleetError:  # noqa: ANN401 - as above
    """Send an event that must fail; nothing of it is remembered."""
    before = fleet.remembered
    caught = error_of(fleet.send, word, **data)
    assert fleet.remembered == before
    return caught


def places_of(fleet: Fleet) -> set[Place]:
    """Where images of the VM lie."""
    return {stored.place for stored in fleet.cloud.images_of(VM)}


def moves(fleet: Fleet) -> None:
    """What the hypervisor does when the VM migrates: the medium is the same file on the other host."""
    machine = fleet.machine
    machine.host = HOST_2
    assert machine.medium is not None
    machine.medium = StoredImage(machine.medium.name, AT_DESTINATION)
