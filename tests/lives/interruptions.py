"""Interruptions of a worker's work, and where they can come: every call of the store and every verb of the driver."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Protocol

import redis
from typing_extensions import override

from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.model import EventKey
from tasks.mailbox import Claim
from tests.integration.queue.lost_replies import Loss
from tests.unit.documents import Json
from tests.unit.fakes.cloud import At
from workers.store.mailbox import MailboxOptions, RedisMailbox


class Killed(BaseException):
    """`kill -9`: nothing that the process would still do is done."""


class UnforeseenError(Exception):
    """What no code expects."""


class Mishap(StrEnum):
    """What befalls a worker."""

    KILLED = "killed"
    REPLY_LOST = "a reply of the store is lost"
    OVERTAKEN = "stopped until its lease is over and another worker has had its turn"
    OVERTAKEN_BY_DEAD = "stopped until its lease is over and another worker has begun, and was killed"
    OVERTAKEN_BY_REPLY = "a reply is lost, and another worker has its turn before it is asked for again"
    FAILED_FOR_NOW = "the hypervisor fails for now"
    FAILED_FOR_GOOD = "the hypervisor fails for good"
    UNFORESEEN = "something happens that nobody foresaw"


STOPPED = frozenset({Mishap.OVERTAKEN, Mishap.OVERTAKEN_BY_DEAD})
_OF_THE_STORE = frozenset({Mishap.REPLY_LOST, Mishap.OVERTAKEN_BY_REPLY})
_OVER = frozenset({("done", At.AFTER), ("release", At.AFTER)})
"""Whoever is stopped here has given the VM back."""

_OF_THE_DRIVER = frozenset({Mishap.FAILED_FOR_NOW, Mishap.FAILED_FOR_GOOD, Mishap.UNFORESEEN})


@dataclass(frozen=True)
class Trouble:
    """One mishap, at the first point from this one on where it can happen.

    Args:
        mishap, point: what, and when.
        meanwhile: events that are published, and done, before a worker goes on that was stopped.
    """

    mishap: Mishap
    point: int
    meanwhile: tuple[tuple[str, Json], ...] = ()


class Others(Protocol):
    """What other workers do meanwhile."""

    def take_over(self, meanwhile: Sequence[tuple[str, Json]] = ()) -> None:
        """Wait until the lease is over, and have a turn; with these events too."""

    def begin_and_die(self) -> None:
        """Wait until the lease is over, claim the VM, and never be heard of again."""


class Points:
    """The points of one worker's work, in order; the first that fits the trouble has it, once."""

    def __init__(self, loss: Loss, others: Others) -> None:
        self._loss = loss
        self._others = others
        self._trouble: Trouble | None = None
        self._passed = 0
        self._dead = False

    def arm(self, trouble: Trouble | None) -> None:
        """Begin to count, with this ahead."""
        self._trouble, self._passed, self._dead = trouble, 0, False

    def disarm(self) -> None:
        """Nothing more happens; another process begins."""
        self.arm(None)
        self._loss.armed = False

    def at_driver(self, verb: str, at: At) -> None:
        """Pass a point within a verb of the driver."""
        self._pass(verb, at, _OF_THE_DRIVER)

    def at_store(self, call: str, at: At) -> None:
        """Pass a point before or after a call of the store."""
        self._pass(call, at, _OF_THE_STORE if at is At.BEFORE else frozenset())

    def _pass(self, what: str, at: At, possible: frozenset[Mishap]) -> None:
        if self._dead:
            raise Killed
        self._passed += 1
        trouble = self._trouble
        if (
            trouble is None
            or self._passed <= trouble.point
            or trouble.mishap not in possible | STOPPED | {Mishap.KILLED}
        ):
            return
        if trouble.mishap in STOPPED and (what, at) in _OVER:
            return
        self._trouble = None
        self._befall(trouble, f"{what}, {at.name}")

    def _befall(self, trouble: Trouble, where: str) -> None:
        match trouble.mishap:
            case Mishap.KILLED:
                self._dead = True
                raise Killed(where)
            case Mishap.REPLY_LOST:
                self._loss.next()
            case Mishap.OVERTAKEN:
                self._others.take_over(trouble.meanwhile)
            case Mishap.OVERTAKEN_BY_DEAD:
                self._others.begin_and_die()
            case Mishap.OVERTAKEN_BY_REPLY:
                self._loss.next(self._others.take_over)
            case Mishap.FAILED_FOR_NOW:
                raise TransientError(TransientCode.HYPERVISOR_ERROR, where)
            case Mishap.FAILED_FOR_GOOD:
                raise PermanentError(PermanentCode.ACCESS_DENIED, where)
            case Mishap.UNFORESEEN:
                raise UnforeseenError(where)


_CALLS = {name: name for name in ("put", "claim", "renew", "intend", "note_doubt", "done", "hold", "release")}
_CALLS |= {"release_verified": "release", "outcome_of": "outcome", "dead_letter": "dead_letter"}
_BEFORE_ONLY = frozenset({"note_doubt", "outcome_of"})


class PointedMailbox(RedisMailbox):
    """The store as a worker has it, with a point before and after each call; remembers the last claim of each event."""

    def __init__(self, client: redis.Redis, options: MailboxOptions, points: Points) -> None:
        super().__init__(client, options)
        self._points = points
        self.claims: dict[EventKey, Claim] = {}

    @override
    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return partial(self._pointed, name, found) if name in _CALLS else found

    def _pointed(self, name: str, call: Callable[..., object], *arguments: object, **named: object) -> object:
        self._points.at_store(_CALLS[name], At.BEFORE)
        answer = call(*arguments, **named)
        if isinstance(answer, Claim):
            self.claims[answer.header.key] = answer
        if name not in _BEFORE_ONLY:
            self._points.at_store(_CALLS[name], At.AFTER)
        return answer
