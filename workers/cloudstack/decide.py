"""What to tell the fleet: from a notice, from what was told before, and from what CloudStack says now. Pure.

First the edge that a look cannot see, then the difference between what was told and what is seen:

| told  | a notice newer than what was told says                      | tell                                          |
|-------|-------------------------------------------------------------|-----------------------------------------------|
| on    | any -> Stopped                                              | `stop`; `booted: false` if it was Starting    |
| on    | Starting or Stopped -> any, and that is not the last state  | `stop`: it was off meanwhile, unheard         |
| ?     | Running, Stopping or Migrating -> Stopped                   | `stop`                                        |

| told  | CloudStack says now                                         | tell                                          |
|-------|-------------------------------------------------------------|-----------------------------------------------|
| any   | Expunging; or gone, and the notice is about expunging       | `destroy`, once                               |
| on    | Stopped, Destroyed, Error, Shutdown                         | `stop`                                        |
| off ? | Running (or Starting, where it is set so) on a host         | `start`, with all content                     |
| on    | Starting, or just started, on another host                  | `start` there                                 |
| on    | Migrating to another host                                   | `migrate`, `prepare`                          |
| on    | Running on another host                                     | `migrate`, `complete`                         |
| on    | Running on the same host, after a `prepare`                 | `migrate`, `rollback`                         |
| any   | all else                                                    | nothing                                       |

| the notice counts for                                               | tell then                                     |
|---------------------------------------------------------------------|-----------------------------------------------|
| a new password                                                      | `password_reset`: now, or with the next start |
| new content, and no `start` was just told                           | `update`, for the next start                  |

Destroyed is `stop`, as CloudStack can recover such a VM, and our `destroy` is final (ADR 0005). A notice about power
that is older than the newest that led to a look is dropped: that look saw all that it could say. One without a time is
only a reason to look. A reboot tells nothing: the drive stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from configdrive.contract.events import MigratePhase
from workers.cloudstack.notices import Notice
from workers.cloudstack.ports import VmRecord
from workers.cloudstack.relevance import Counts
from workers.config.cloudstack import StartAt

RUNNING, STARTING, MIGRATING, STOPPED, EXPUNGING = "Running", "Starting", "Migrating", "Stopped", "Expunging"
OFF: Final = frozenset({STOPPED, "Destroyed", "Error", "Shutdown"})
_UNKNOWN: Final = ""


class Power(StrEnum):
    """What the fleet was told of a VM's power."""

    ON = "on"
    OFF = "off"
    UNTOLD = "untold"


@dataclass(frozen=True, slots=True)
class Told:
    """What the fleet was told of a VM, and by which notice.

    Args:
        power: on from `start` to `stop`.
        host: where it is or was, by the name that CloudStack has for it.
        moving_to: the destination of a migration that was prepared.
        gone: it was destroyed: nothing more is told.
        at: the time of the newest notice that led to a look, in ms since 1970 UTC; 0 when none had one.
        state: the state at the end of the chain of state events so far; empty when that is not known.
        sequence: the last event's.
        instance_name: for events about a VM that CloudStack no longer shows.
        hypervisor: the same.
    """

    power: Power = Power.UNTOLD
    host: str | None = None
    moving_to: str | None = None
    gone: bool = False
    at: int = 0
    state: str = _UNKNOWN
    sequence: int = 0
    instance_name: str | None = None
    hypervisor: str | None = None


class Kind(StrEnum):
    """What to tell, by the short types of our events."""

    START = "start"
    STOP = "stop"
    MIGRATE = "migrate"
    PASSWORD_RESET = "password_reset"  # noqa: S105 - a type of event
    UPDATE = "update"
    DESTROY = "destroy"


@dataclass(frozen=True, slots=True)
class Act:
    """One thing to tell. Hosts by CloudStack's names; `host` is where the VM is, of a migration where it was before.

    Args:
        kind: what.
        host: `None` when the VM was on none, as far as is known.
        destination: of a migration.
        phase: of a migration.
        booted: of a stop: whether the VM had been running.
    """

    kind: Kind
    host: str | None
    destination: str | None = None
    phase: MigratePhase | None = None
    booted: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """What to tell, in order, and what is told then.

    Args:
        acts: what to tell.
        told: to remember.
        reason: why it is nothing.
        lost: what a person should know of, because it should have been told and cannot be.
    """

    acts: tuple[Act, ...]
    told: Told
    reason: str = ""
    lost: str = ""


def is_stale(notice: Notice, counts: Counts, told: Told) -> bool:
    """Whether a look that was made for a newer notice has seen all that this one can say."""
    return counts is Counts.POWER and notice.at is not None and _ms(notice.at) < told.at


def decide(notice: Notice, counts: Counts, told: Told, seen: VmRecord | None, start_at: StartAt) -> Decision:
    """Say what to tell the fleet. The notice is not stale, and is about the VM that `told` and `seen` are about."""
    if told.gone:
        return Decision((), told, "the VM is gone: its destroy was told")
    if seen is None:
        return _unseen(notice, told)
    edge = _edge(notice, told)
    after = _known(told if edge is None else _off(told), seen)
    level, after = _level(after, seen, start_at)
    if after.gone:
        return Decision(level, after)
    acts = level if edge is None else (edge, *level)
    after = _noted(after, notice, seen, acted=bool(acts))
    if counts is Counts.POWER:
        return Decision(acts, after, _why_nothing(after, seen))
    return _with_extra(counts, acts, after)


def _unseen(notice: Notice, told: Told) -> Decision:
    """CloudStack shows no such VM: gone, of the system, or not for us to see. Only its own word makes it gone."""
    expunged = notice.expunged or notice.new == EXPUNGING or notice.event == "VM.EXPUNGE"
    if expunged and told.instance_name is not None:
        return Decision((Act(Kind.DESTROY, told.host),), _gone(told))
    if told.instance_name is None:
        return Decision((), told, "CloudStack shows no such VM of a user, and nothing was told of it")
    return Decision((), told, "CloudStack does not show the VM, and the notice does not say that it was expunged")


def _edge(notice: Notice, told: Told) -> Act | None:
    """Find a time without power that a look may not see any more."""
    if notice.at is None or not notice.new:
        return None
    follows = notice.old == told.state
    newer = _ms(notice.at) > told.at or (follows and told.state != _UNKNOWN)
    if not newer or told.power is Power.OFF:
        return None
    if notice.new == STOPPED and (told.power is Power.ON or notice.old not in {STOPPED, STARTING, *OFF}):
        return Act(Kind.STOP, told.host, booted=notice.old != STARTING)
    missed = not follows and told.state != _UNKNOWN and notice.old in {STARTING, *OFF}
    return Act(Kind.STOP, told.host) if missed and told.power is Power.ON else None


def _level(told: Told, seen: VmRecord, start_at: StartAt) -> tuple[tuple[Act, ...], Told]:
    """Compare what was told with what is seen."""
    if seen.state == EXPUNGING:
        return (Act(Kind.DESTROY, told.host),), _gone(told)
    if seen.state in OFF:
        return ((Act(Kind.STOP, told.host),), _off(told)) if told.power is Power.ON else ((), told)
    if seen.host is None:
        return (), told
    if told.power is not Power.ON:
        up = seen.state == RUNNING or (seen.state == STARTING and start_at is StartAt.STARTING)
        return ((Act(Kind.START, seen.host),), _on(told, seen.host)) if up else ((), told)
    return _moved(told, seen, seen.host)


def _moved(told: Told, seen: VmRecord, host: str) -> tuple[tuple[Act, ...], Told]:
    """Compare places: a VM that is on, is it still where it was told to be? While it migrates, `host` is where to."""
    source = told.host or host
    if seen.state == MIGRATING and host not in {source, told.moving_to}:
        return (_migrate(MigratePhase.PREPARE, source, host),), replace(told, moving_to=host)
    if seen.state not in {STARTING, RUNNING}:
        return (), told
    booting = STARTING in {seen.state, told.state}
    if host != source:
        moved = Act(Kind.START, host) if booting else _migrate(MigratePhase.COMPLETE, source, host)
    elif told.moving_to is not None:
        moved = _migrate(MigratePhase.ROLLBACK, source, told.moving_to)
    else:
        return (), told
    return (moved,), _on(told, host)


def _with_extra(counts: Counts, acts: tuple[Act, ...], told: Told) -> Decision:
    """Add what a notice tells beside power. The contract wants a host, which a VM has from its first start on."""
    password = counts is Counts.PASSWORD
    if told.host is None:
        lost = "the new password of a VM that was on no host yet: reset it after its first start" if password else ""
        return Decision(acts, told, "comes with the VM's first start", lost)
    if password:
        return Decision((*acts, Act(Kind.PASSWORD_RESET, told.host)), told)
    started = any(act.kind is Kind.START for act in acts)
    return Decision(acts if started else (*acts, Act(Kind.UPDATE, told.host)), told)


def _why_nothing(told: Told, seen: VmRecord) -> str:
    if seen.state not in OFF and seen.host is None:
        return f"the VM is {seen.state}, on no host yet"
    return f"the fleet knows: power {told.power}, now {seen.state}"


def _known(told: Told, seen: VmRecord) -> Told:
    return replace(
        told,
        host=told.host or seen.host,
        instance_name=seen.instance_name,
        hypervisor=seen.hypervisor or told.hypervisor,
    )


def _noted(told: Told, notice: Notice, seen: VmRecord, *, acted: bool) -> Told:
    """Note until when all is seen, and the state at the end of the chain of state events.

    After an act that a look alone led to, the chain is not known: the notices about it are still on their way. An
    action event that led to nothing leaves all as it is.
    """
    if acted or notice.new:
        told = replace(told, state=_UNKNOWN if acted and notice.new != seen.state else notice.new)
    if notice.at is None or not (notice.new or acted):
        return told
    return replace(told, at=max(told.at, _ms(notice.at)))


def _migrate(phase: MigratePhase, source: str, destination: str) -> Act:
    return Act(Kind.MIGRATE, source, destination, phase)


def _gone(told: Told) -> Told:
    return replace(told, gone=True, power=Power.OFF, moving_to=None)


def _on(told: Told, host: str) -> Told:
    return replace(told, power=Power.ON, host=host, moving_to=None)


def _off(told: Told) -> Told:
    return replace(told, power=Power.OFF, moving_to=None)


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
