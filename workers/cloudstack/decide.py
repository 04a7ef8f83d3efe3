"""The decision what to publish: from a notice, from what was published before, and from what CloudStack says now. Pure.

First the edge that a look cannot see, then the difference between what was published and what is seen:

| published | a notice newer than what was published says                | publish                                    |
|-----------|------------------------------------------------------------|--------------------------------------------|
| on        | any -> Stopped                                             | `stop`; `booted: false` if it was Starting |
| on        | Starting or Stopped -> any, and that is not the last state | `stop`: it was off meanwhile, unheard      |
| ?         | Running, Stopping or Migrating -> Stopped                  | `stop`                                     |

| published | CloudStack says now                                   | publish                   |
|-----------|-------------------------------------------------------|---------------------------|
| any       | Expunging; or gone, and the notice is of expunging    | `destroy`, once           |
|           | or unmanaging                                         |                           |
| ?         | Running, and the notice is about importing            | nothing before its start  |
| on        | Stopped, Destroyed, Error, Shutdown                   | `stop`                    |
| off ?     | Running (or Starting, where it is set so) on a host   | `start`, with all content |
| on        | Starting, or just started, on another host            | `start` there             |
| on        | Migrating to another host                             | `migrate`, `prepare`      |
| on        | Running on another host                               | `migrate`, `complete`     |
| on        | Running on the same host, after a `prepare`           | `migrate`, `rollback`     |
| any       | all else                                              | nothing                   |

The gate publishes the `start` of a VM that CloudStack is about to start (`gate`). Until a look has seen it run:

| CloudStack says now             | publish                                                                      |
|---------------------------------|------------------------------------------------------------------------------|
| Running where the gate was asked| `start` that ensures the gate's: exactly one drive, whatever answer was lost |
| Running on another host         | `start` there: that host's gate was not asked, or has not answered           |
| Stopped, Destroyed, Error, ...  | `stop`, `booted: false`                                                      |
| all else                        | nothing; what the notice says of earlier stops is older than the gate's look |

| the notice counts for                          | publish then                                  |
|------------------------------------------------|-----------------------------------------------|
| a new password                                 | `password_reset`: now, or with the next start |
| new content, and no `start` was just published | `update`, for the next start                  |

Destroyed is `stop`, as CloudStack can recover such a VM, and our `destroy` is final (ADR 0005). A notice about power
that is older than the newest that led to a look is dropped: that look saw all that it could say. One without a time is
only a reason to look. A reboot leads to nothing: the drive stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from configdrive.contract.events import MigratePhase
from workers.cloudstack.notices import Notice
from workers.cloudstack.ports import (
    EXPUNGING,
    MIGRATING,
    OFF,
    RUNNING,
    STARTING,
    STOPPED,
    UNKNOWN,
    Power,
    Published,
    VmRecord,
)
from workers.cloudstack.relevance import IMPORT_EVENT, Relevance
from workers.config.cloudstack import StartAt


class Kind(StrEnum):
    """What to publish, by the short types of our events."""

    START = "start"
    STOP = "stop"
    MIGRATE = "migrate"
    PASSWORD_RESET = "password_reset"  # noqa: S105 - a type of event
    UPDATE = "update"
    DESTROY = "destroy"


@dataclass(frozen=True, slots=True)
class Act:
    """One thing to publish. Hosts by CloudStack's names; `host` is where the VM is, of a migration where it was before.

    Args:
        kind: what.
        host: `None` when the VM was on none, as far as is known.
        destination: of a migration.
        phase: of a migration.
        booted: of a stop: whether the VM had been running.
        ensure: of a start: the sequence of the gate's, whose drive the VM is to have.
        by_gate: of a start: CloudStack puts the drive into the VM.
    """

    kind: Kind
    host: str | None
    destination: str | None = None
    phase: MigratePhase | None = None
    booted: bool = True
    ensure: int = 0
    by_gate: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What to publish, in order, and what is published then.

    Args:
        acts: what to publish.
        published: to remember.
        reason: why it is nothing.
        lost: what a person should know of, because it should have been published and cannot be.
    """

    acts: tuple[Act, ...]
    published: Published
    reason: str = ""
    lost: str = ""


def is_stale(notice: Notice, counts: Relevance, published: Published) -> bool:
    """Whether a look that was made for a newer notice has seen all that this one can say."""
    return counts is Relevance.POWER and notice.at is not None and _ms(notice.at) < published.at


def decide(
    notice: Notice, counts: Relevance, published: Published, seen: VmRecord | None, start_at: StartAt
) -> Decision:
    """Say what to publish. The notice is not stale, and about the VM of `published` and `seen`."""
    if published.gone:
        return Decision((), published, "the VM is gone: its destroy was published")
    if seen is None:
        return _unseen(notice, published)
    if published.imported or _is_import(notice, published, seen):
        return _since_import(notice, published, seen, start_at)
    edge = None if published.gate and seen.state in {STARTING, RUNNING} else _edge(notice, published)
    after = known_of(published if edge is None else _off(published), seen)
    level, after = _level(after, seen, start_at)
    if after.gone:
        return Decision(level, after)
    acts = level if edge is None else (edge, *level)
    after = _noted(after, notice, seen, acted=bool(acts))
    if counts is Relevance.POWER:
        return Decision(acts, after, _why_nothing(after, seen))
    return _with_extra(counts, acts, after)


def _is_import(notice: Notice, published: Published, seen: VmRecord) -> bool:
    return notice.event == IMPORT_EVENT and published.power is Power.UNKNOWN and seen.state == RUNNING


def _since_import(notice: Notice, published: Published, seen: VmRecord, start_at: StartAt) -> Decision:
    """Wait for the end of the life that a VM had when it was imported; a look may come when its next one has begun."""
    if seen.state in {*OFF, EXPUNGING, STARTING} or (published.imported and notice.new == STOPPED):
        level, after = _level(replace(_off(known_of(published, seen)), imported=False), seen, start_at)
        after = after if after.gone else _noted(after, notice, seen, acted=bool(level))
        return Decision(level, after, "the life before its import has ended")
    waits = replace(_on(known_of(published, seen), published.host or seen.host or ""), imported=True)
    return Decision((), waits, "imported while it ran: its drive comes with its next start")


def _unseen(notice: Notice, published: Published) -> Decision:
    """CloudStack shows no such VM: gone, of the system, or not for us to see. Only its own word makes it gone."""
    expunged = notice.expunged or notice.new == EXPUNGING or notice.event in {"VM.EXPUNGE", "VM.UNMANAGE"}
    if expunged and published.instance_name is not None:
        return Decision((Act(Kind.DESTROY, published.host),), _gone(published))
    if published.instance_name is None:
        return Decision((), published, "CloudStack shows no such VM of a user, and nothing was published of it")
    return Decision((), published, "CloudStack does not show the VM, and the notice does not say that it was expunged")


def _edge(notice: Notice, published: Published) -> Act | None:
    """Find a time without power that a look may not see any more."""
    if notice.at is None or not notice.new:
        return None
    follows = notice.old == published.state
    newer = _ms(notice.at) > published.at or (follows and published.state != UNKNOWN)
    if not newer or published.power is Power.OFF:
        return None
    if notice.new == STOPPED and (published.power is Power.ON or notice.old not in {STOPPED, STARTING, *OFF}):
        return Act(Kind.STOP, published.host, booted=notice.old != STARTING)
    missed = not follows and published.state != UNKNOWN and notice.old in {STARTING, *OFF}
    return Act(Kind.STOP, published.host) if missed and published.power is Power.ON else None


def _level(published: Published, seen: VmRecord, start_at: StartAt) -> tuple[tuple[Act, ...], Published]:
    """Compare what was published with what is seen."""
    if seen.state == EXPUNGING:
        return (Act(Kind.DESTROY, published.host),), _gone(published)
    if seen.state in OFF:
        end = Act(Kind.STOP, published.host, booted=not published.gate)
        return ((end,), _off(published)) if published.power is Power.ON else ((), published)
    if seen.host is None:
        return (), published
    if published.power is not Power.ON:
        up = seen.state == RUNNING or (seen.state == STARTING and start_at is StartAt.STARTING)
        return ((Act(Kind.START, seen.host),), _on(published, seen.host)) if up else ((), published)
    if published.gate and seen.state in {STARTING, RUNNING}:
        return _after_gate(published, seen.state, seen.host)
    return _moved(replace(published, gate=0), seen, seen.host)


def _after_gate(published: Published, state: str, host: str) -> tuple[tuple[Act, ...], Published]:
    """Make sure of the drive that the gate was asked for, once the VM runs; before that it is the gate's."""
    if state == STARTING:
        return (), published
    ensure = published.gate if host == published.host else 0
    return (Act(Kind.START, host, ensure=ensure),), _on(published, host)


def gate_acts(published: Published, host: str) -> tuple[tuple[Act, ...], Published]:
    """Say what the gate publishes for a VM that CloudStack is about to start on a host.

    One of which it was published that it runs was off meanwhile, unheard, unless that was the gate's own word.
    """
    missed = published.power is Power.ON and not published.gate and not published.imported
    acts = (Act(Kind.START, host, by_gate=True),)
    after = replace(_on(published, host), state=UNKNOWN, imported=False)
    return ((Act(Kind.STOP, published.host), *acts) if missed else acts), after


def _moved(published: Published, seen: VmRecord, host: str) -> tuple[tuple[Act, ...], Published]:
    """Compare places: is a VM that is on still where it was published? While it migrates, `host` is where to."""
    source = published.host or host
    if seen.state == MIGRATING and host not in {source, published.moving_to}:
        return (_migrate(MigratePhase.PREPARE, source, host),), replace(published, moving_to=host)
    if seen.state not in {STARTING, RUNNING}:
        return (), published
    booting = STARTING in {seen.state, published.state}
    if host != source:
        moved = Act(Kind.START, host) if booting else _migrate(MigratePhase.COMPLETE, source, host)
    elif published.moving_to is not None:
        moved = _migrate(MigratePhase.ROLLBACK, source, published.moving_to)
    else:
        return (), published
    return (moved,), _on(published, host)


def _with_extra(counts: Relevance, acts: tuple[Act, ...], published: Published) -> Decision:
    """Add what a notice says beside power. The contract wants a host, which a VM has from its first start on."""
    password = counts is Relevance.PASSWORD
    if published.host is None:
        lost = "the new password of a VM that was on no host yet: reset it after its first start" if password else ""
        return Decision(acts, published, "comes with the VM's first start", lost)
    if password:
        return Decision((*acts, Act(Kind.PASSWORD_RESET, published.host)), published)
    started = any(act.kind is Kind.START for act in acts)
    return Decision(acts if started else (*acts, Act(Kind.UPDATE, published.host)), published)


def _why_nothing(published: Published, seen: VmRecord) -> str:
    if seen.state not in OFF and seen.host is None:
        return f"the VM is {seen.state}, on no host yet"
    return f"the fleet knows: power {published.power}, now {seen.state}"


def known_of(published: Published, seen: VmRecord) -> Published:
    """Take in the VM's names, and its host unless one is known."""
    return replace(
        published,
        host=published.host or seen.host,
        instance_name=seen.instance_name,
        hypervisor=seen.hypervisor or published.hypervisor,
    )


def _noted(published: Published, notice: Notice, seen: VmRecord, *, acted: bool) -> Published:
    """Note until when all is seen, and the state at the end of the chain of state events.

    After an act that a look alone led to, the chain is not known: the notices about it are still on their way. An
    action event that led to nothing leaves all as it is.
    """
    if acted or notice.new:
        published = replace(published, state=UNKNOWN if acted and notice.new != seen.state else notice.new)
    if notice.at is None or not (notice.new or acted):
        return published
    return replace(published, at=max(published.at, _ms(notice.at)))


def _migrate(phase: MigratePhase, source: str, destination: str) -> Act:
    return Act(Kind.MIGRATE, source, destination, phase)


def _gone(published: Published) -> Published:
    return replace(published, gone=True, power=Power.OFF, moving_to=None, gate=0)


def _on(published: Published, host: str) -> Published:
    return replace(published, power=Power.ON, host=host, moving_to=None, gate=0)


def _off(published: Published) -> Published:
    return replace(published, power=Power.OFF, moving_to=None, gate=0)


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
