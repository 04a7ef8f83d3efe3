"""The wake-up: the disposable Celery message that tells a worker to look into a VM's mailbox.

It carries the event's key (as the task's id), short type, VM uuid, attempt and its own number, and nothing else: losing
or doubling it does no harm, and there is nothing in it to leak. (What Flower shows of it has the instance name, too.)
The scripts on Redis send it, in the step in which the event is stored or ended (`configdrive/client/lua/common.lua`,
docs/adr/0022). The same holds for the other message there is, which names a host to be asked for what it still has of
VMs (`tasks.leftovers`), or `*`: VMs to be verified.

Every worker also makes the pass of this module: wake-ups that were lost or are due now, and hosts to be asked again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from configdrive.contract.event_key import KEY_PATTERN
from configdrive.contract.events import SHORT_TYPES
from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import UUID_PATTERN, EventKey, HostName, VmUuid
from tasks.mailbox import Sent, Wakeup, WakeupMailbox

TASK_NAME = "configdrive.lifecycle"
"""The task of an event whose type is none: somebody has written it to Redis, and it is refused."""
TASK_NAMES = frozenset({TASK_NAME, *(f"configdrive.{word}" for word in SHORT_TYPES)})
"""One for each type of event, so that Flower and its metrics tell them apart; `common.lua` has them as well."""
LEFTOVERS_NAME = "configdrive.leftovers"
VERIFY = HostName("*")
"""No host's name: the question is for the VMs that are to be verified, wherever they are."""

AT_ONCE = 1000

_UUID = re.compile(UUID_PATTERN)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+=~-]{0,127}")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_REMEDY = "publish through configdrive.client; the fleet sends its messages itself"


@dataclass(frozen=True, slots=True)
class Question:
    """The message with which a worker comes to ask a host. `queue` and `number` as in a `Wakeup`."""

    host: HostName
    queue: str
    number: int


def read(task_id: object, arguments: Sequence[object], queue: str) -> Wakeup:
    """Check what came from the broker, where anybody with access can write.

    Raises:
        PermanentError: `INVALID_EVENT` when it is not a wake-up of ours.
    """
    match list(arguments):
        case [str(), str(uuid), int(), int(number)] if _is_key(task_id) and _UUID.fullmatch(uuid) and number >= 0:
            return Wakeup(EventKey(str(task_id)), VmUuid(uuid), queue, number)
        case _:
            detail = "a task message that is not [event type, VM uuid, attempt, number] with the event's key as task id"
            raise PermanentError(PermanentCode.INVALID_EVENT, detail, _REMEDY)


def read_question(task_id: object, arguments: Sequence[object], queue: str) -> Question:
    """Check what came from the broker as the question to a host.

    Raises:
        PermanentError: `INVALID_EVENT` when it is none of ours.
    """
    match list(arguments):
        case [str(host), int(number)] if _is_id(task_id) and _is_host(host) and number >= 0:
            return Question(HostName(host), queue, number)
        case _:
            detail = "a task message that does not name one host"
            raise PermanentError(PermanentCode.INVALID_EVENT, detail, _REMEDY)


def check(task: object, task_id: object, arguments: Sequence[object], queue: str) -> None:
    """Check a message of either kind.

    Raises:
        PermanentError: `INVALID_EVENT` when it is none of ours.
    """
    if task == LEFTOVERS_NAME:
        read_question(task_id, arguments, queue)
    elif task in TASK_NAMES:
        read(task_id, arguments, queue)
    else:
        detail = "a message for another task"
        raise PermanentError(PermanentCode.INVALID_EVENT, detail, _REMEDY)


def _is_host(name: str) -> bool:
    return name == VERIFY or _HOST.fullmatch(name) is not None


def _is_key(value: object) -> bool:
    return isinstance(value, str) and KEY_PATTERN.fullmatch(value) is not None


def _is_id(value: object) -> bool:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass has sent: wake-ups, and (queue, host) of each host that is asked for what it still has."""

    wakeups: tuple[Sent, ...] = ()
    hosts: tuple[tuple[str, HostName], ...] = ()


def wake_due(mailbox: WakeupMailbox, queues: Iterable[str], *, pause: float, at_once: bool = False) -> Pass:
    """Send what is due on these queues.

    A host that still has something of a VM is asked every `pause` seconds, and of the VMs that are parked because a
    host or storage was away one is tried. A message that was lost is sent again after the resend time, or `at_once`
    when an operator asks.
    """
    wakeups: list[Sent] = []
    hosts: list[tuple[str, HostName]] = []
    for name in queues:
        wakeups += mailbox.wake_due(name, AT_ONCE, at_once=at_once)
        wakeups += mailbox.try_parked(name, pause)
        hosts += [(name, host) for host in mailbox.ask_hosts(name, pause)]
    return Pass(tuple(wakeups), tuple(hosts))
