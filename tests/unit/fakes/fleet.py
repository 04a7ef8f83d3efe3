"""A reconciler with everything around it in memory, driven by events as an orchestrator sends them."""

import json
from dataclasses import dataclass, field
from typing import Any

from configdrive.contents.render import Files
from configdrive.contract.events import LifecycleEvent, parse
from configdrive.contract.outcome import Status
from configdrive.errors import FleetError
from configdrive.iso import read
from configdrive.iso.ecma119 import SECTOR
from configdrive.iso.verify import verify
from configdrive.lifecycle import state
from configdrive.lifecycle.leftovers import Cleaner
from configdrive.lifecycle.reconcile import Attempt, Reconciler, Waiting
from configdrive.lifecycle.settled import Settled
from configdrive.lifecycle.state import VmRecord, VmState
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
    Vm,
    VmUuid,
)
from tests.support import error_of
from tests.unit.documents import UUID, Json, document
from tests.unit.fakes.cloud import At, Cloud, Machine, MemoryDriver
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

    def inserted(self) -> StoredImage:
        """What is in the VM's drive, in which there is something."""
        assert self.machine.medium is not None, "no drive is attached"
        return self.machine.medium

    def breaks(self, verb: str, error: BaseException, at: At = At.BEFORE) -> None:
        """From now on a verb of the hypervisor's ends like this; `mended` ends that."""

        def hook(at_verb: str, at_: At) -> None:
            if (at_verb, at_) == (verb, at):
                raise error

        self.cloud.hook = hook

    def mended(self) -> None:
        self.cloud.hook = lambda _verb, _at: None

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

    def vm(self) -> Vm:
        """The VM as it is known."""
        vm = self.known().vm
        assert vm is not None
        return vm

    def content(self) -> bytes:
        """The attached drive, byte for byte."""
        content = self.cloud.medium(VM)
        assert content is not None, "no drive is attached"
        return content

    def files(self) -> dict[str, bytes]:
        """What the guest reads from its config drive."""
        return read_image(self.content())

    def password(self) -> str | None:
        """The password on the attached drive."""
        password = self.files().get("cloudstack/password/vm_password.txt")
        return None if password is None else password.decode()

    def user_data(self) -> bytes | None:
        return self.files().get("cloudstack/userdata/user_data.txt")

    def label(self) -> str:
        return read.read(self.content()).label


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
    fleet.machine.host = HOST_2
    fleet.machine.medium = StoredImage(fleet.inserted().name, AT_DESTINATION)


def moves_without_its_drive(fleet: Fleet) -> None:
    """The VM is defined anew on the other host."""
    fleet.machine.host, fleet.machine.medium = HOST_2, None


# --- a host that is away ----------------------------------------------------------------------------------------------


def record(fleet: Fleet) -> VmRecord:
    assert fleet.remembered is not None
    return state.peek(fleet.remembered)


def clean(fleet: Fleet, host: HostName = HOST_1) -> VmRecord:
    """Ask a host for what it has; what comes of it is remembered."""
    after = Cleaner(fleet.driver, fleet.lease).clean(record(fleet), host)
    fleet.remembered = state.write(after)
    return after


def fails(fleet: Fleet, host: HostName = HOST_1) -> FleetError:
    """Ask a host in vain; nothing is remembered of it."""
    return error_of(Cleaner(fleet.driver, fleet.lease).clean, record(fleet), host)


def left_places(fleet: Fleet) -> set[Place]:
    """Where images are left."""
    return {place for left in record(fleet).left for place in left.places}


def leaves(fleet: Fleet, word: str = "stop") -> Settled:
    """Have an event leave behind what host-1, which is down, has."""
    fleet.cloud.down.add(HOST_1)
    return fleet.send(word, attempt=3)


def starts_elsewhere(fleet: Fleet, word: str = "start") -> Machine:
    """Define the VM on host-2 and start it there; returns what host-1 still has of it."""
    kept = fleet.machine
    fleet.cloud.remains.append((VM, kept))
    fleet.cloud.machines[VM] = Machine(HOST_2, kept.root)
    assert fleet.send(word, host=HOST_2, guest=HELLO).outcome.status is Status.APPLIED
    return kept
