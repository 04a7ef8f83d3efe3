"""A host that is away: what an event leaves there, and asking for it, for the tests of both."""

from __future__ import annotations

from configdrive.contract.outcome import Status
from configdrive.errors import (
    FleetError,
)
from configdrive.lifecycle.leftovers import Cleaner
from configdrive.lifecycle.settled import Settled
from configdrive.lifecycle.state import VmRecord, peek, write
from configdrive.model import HostName, Place, VmUuid
from tests.support import error_of
from tests.unit.documents import OTHER_UUID
from tests.unit.fakes.cloud import Machine
from tests.unit.fakes.fleet import (
    HELLO,
    HOST_1,
    HOST_2,
    VM,
    Fleet,
)

OTHER_VM = VmUuid(OTHER_UUID)


def record(fleet: Fleet) -> VmRecord:
    assert fleet.remembered is not None
    return peek(fleet.remembered)


def clean(fleet: Fleet, host: HostName = HOST_1) -> VmRecord:
    """Ask a host for what it has; what comes of it is remembered."""
    after = Cleaner(fleet.driver, fleet.lease).clean(record(fleet), host)
    fleet.remembered = write(after)
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


def still_in_drive(machine: Machine) -> bool:
    return machine.medium is not None
