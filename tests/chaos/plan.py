"""What happens in a storm: the lives of VMs, and what goes wrong meanwhile. Plain data.

`plan_from_seed.py` makes it up from a seed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from configdrive.model import HostName, InstanceName, StorageName, VmUuid
from rigs.simulated.faults import Fault
from tests.e2e.known_secrets import PASSWORD, USER_DATA

HOSTS = tuple(map(HostName, ("h1", "h2", "h3")))
POOL, LOCAL = StorageName("pool"), StorageName("local")
"""Seen by all hosts, and one of each host's own."""

MIXED = ("prefork", "threads", "solo")
CHILDREN = 2


class Act(StrEnum):
    """What the orchestrator or the guest does with the VM itself; each only where the VM is in a state for it."""

    POWER_ON = "power on"
    POWER_OFF = "power off"
    LOCK_TRAY = "lock tray"
    DEFINE = "define"
    UNDEFINE = "undefine"
    MOVE = "move"


class Sent(StrEnum):
    """How an event comes to the fleet."""

    WOKEN = "woken"
    MUTE = "without its wake-up"
    TWICE = "twice"
    STOLEN = "with the sealed box of another VM"


@dataclass(frozen=True, slots=True)
class Step:
    """One event.

    Args:
        kind: the event's short type.
        sequence: its number; an old one is stale on purpose.
        data: the event's data beside `vm`, `sequence`, `hypervisor` and `guest`.
        password, user_data: what it says of the drive; `None`: nothing.
        sent: how it is published.
        faults: what the hypervisor does wrong from now on, for this VM.
        skip: a person whose word is asked gives it up; otherwise it is tried again.
    """

    kind: str
    sequence: int
    data: Mapping[str, Any] = field(default_factory=dict)
    password: str | None = None
    user_data: str | None = None
    sent: Sent = Sent.WOKEN
    faults: tuple[Fault, ...] = ()
    skip: bool = False


@dataclass(frozen=True, slots=True)
class Chapter:
    """Some events at once, with what is done to the VM before, and once all have ended.

    Args:
        before, after: the deeds. `Act.MOVE` goes to the host `to`.
        steps: the events. When the VM was not moved, a migration's `complete` becomes a `rollback`.
    """

    steps: tuple[Step, ...]
    before: tuple[Act, ...] = ()
    after: tuple[Act, ...] = ()
    to: HostName | None = None


@dataclass(frozen=True, slots=True)
class Life:
    """One VM from its first event to its last.

    Args:
        begins: seconds after the storm's begin.
        defined: whether the hypervisor knows it from the beginning.
        wanted: whether its network offering names ConfigDrive.
        password_enabled: whether its template takes passwords.
    """

    number: int
    uuid: VmUuid
    name: InstanceName
    host: HostName
    root: StorageName
    begins: float
    chapters: tuple[Chapter, ...]
    defined: bool = True
    wanted: bool = True
    password_enabled: bool = True
    as_disk: bool = False


class Kind(StrEnum):
    """What goes wrong outside of the hypervisors' verbs."""

    KILL_CHILD = "kill -9 of a pool's child"
    CRASH_CHILD = "SIGSEGV of a pool's child"
    KILL_MAIN = "kill -9 of a worker"
    KILL_ALL = "kill -9 of a worker and its children"
    TERM_MAIN = "SIGTERM to a worker"
    STOP_CHILD = "SIGSTOP of a pool's child"
    STOP_ALL = "SIGSTOP of a worker and its children"
    REDIS_RESTART = "Redis restarts"
    REDIS_KILL = "kill -9 of Redis"
    REDIS_PAUSE = "Redis hangs"
    REDIS_FULL = "Redis is full"
    REDIS_CUT = "all connections to Redis break"
    KILL_SWEEP = "kill -9 of the sweep of storages"
    STOP_SWEEP = "SIGSTOP of the sweep of storages"
    HOST_AWAY = "a host is away"
    STORAGE_AWAY = "the shared storage is away"
    STORAGE_FULL = "the shared storage is full"
    LOSE_WAKE_UPS = "wake-ups are lost"
    OLD_WAKE_UPS = "wake-ups come again, late"
    CLOCK = "a worker's clock jumps"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something goes wrong.

    Args:
        at: seconds after the storm's begin.
        who: chooses the worker, child or host.
        seconds: for how long; of a clock: by how many it is wrong from now on.
    """

    at: float
    kind: Kind
    who: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole storm.

    Args:
        seconds: in which lives begin. Troubles go on for longer, at most until the last life has ended.
        pools: the kind of pool that each worker has.
        latency_ms: what a hypervisor takes for each verb at least.
    """

    seed: int
    seconds: float
    pools: tuple[str, ...]
    latency_ms: int
    lives: tuple[Life, ...]
    troubles: tuple[Trouble, ...]

    @property
    def events(self) -> int:
        """How many events are published."""
        return sum(len(chapter.steps) for life in self.lives for chapter in life.chapters)


def secret_password(uuid: VmUuid, sequence: int) -> str:
    """Return a password that is this VM's and this event's alone, and known by what all have in common."""
    return f"{PASSWORD}.{uuid}.{sequence}."


def secret_user_data(uuid: VmUuid, sequence: int) -> str:
    """Return user data likewise."""
    return f"{USER_DATA}# {uuid}.{sequence}.\n"
