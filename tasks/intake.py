"""The intake: a list on Redis on which a program of any language puts events, and the one ingester that takes from it.

Order is fixed where an event goes into its VM's mailbox, so there is one ingester at a time. An entry leaves the list
in the same step in which its event is in the mailbox, or its refusal on the dead-letter list: an ingester may die
anywhere.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from typing_extensions import override

from configdrive.client.postings import Posting
from configdrive.contract.events import short_type, too_large
from configdrive.contract.fields import MAX_SEQUENCE
from configdrive.contract.outcome import Outcome, Status
from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import UUID_PATTERN
from configdrive.ports import Clock, Sealer
from tasks.mailbox import DeadLetter

_log = logging.getLogger(__name__)

_READ_BYTES = 2**20
"""A refused entry that is longer is not read once more to find out whose it is."""

_AFTER_TROUBLE_SECONDS = 1.0

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+=~-]{0,127}")
_UUID = re.compile(UUID_PATTERN)
_SOURCE = re.compile(r"[^\x00-\x1f\x7f]{1,255}")
_TYPE = re.compile(r"configdrive\.vm\.[a-z_]{1,32}\.v1")


@dataclass(frozen=True, slots=True)
class Taken:
    """The oldest entries, which stay where they are until they are settled.

    Args:
        first: the number of the first one, counted since the list began.
        entries: oldest first; the number of bytes in the place of one that is larger than any event.
    """

    first: int
    entries: tuple[bytes | int, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An entry that is no event: what is written down, and an outcome for its publisher, if that can be known."""

    letter: DeadLetter
    outcome: Outcome | None = None


class Intake(Protocol):
    """The list, as one ingester sees it."""

    def take(self) -> Taken | float:
        """Look at the oldest entries; while another ingester is at it, the seconds for which it may be."""

    def settle(self, first: int, judged: Sequence[Posting | Refusal]) -> int | None:
        """Write down what became of the entries from `first` on; answers how many events were not stored.

        `None` when they were settled already.
        """

    def leave(self) -> None:
        """Let another ingester begin at once."""


class Unsealed(Sealer):
    """Stands where guest data has to come sealed: it refuses what stands in the clear, and has no key."""

    @override
    def seal(self, plaintext: bytes, context: str) -> str:
        detail = "data.guest: stands in the clear"
        remedy = "seal it into 'data.sealed', or set CONFIGDRIVE_INTAKE=cleartext where Redis may read it"
        raise PermanentError(PermanentCode.INVALID_EVENT, detail, remedy)

    @override
    def open(self, sealed: str, context: str) -> bytes:
        raise PermanentError(PermanentCode.UNSEALABLE, "an ingester has no key", "workers open sealed data")


class Ingester:
    """Takes events from the intake.

    Args:
        intake: the list.
        check: makes a posting of an event's JSON, or raises `PermanentError`.
        clock: for what is written down.
        pause: seconds between two looks at an empty list.
    """

    def __init__(
        self,
        intake: Intake,
        check: Callable[[bytes], Posting],
        clock: Clock,
        *,
        pause: float,
    ) -> None:
        self._intake = intake
        self._check = check
        self._clock = clock
        self._pause = pause

    def run(self, ended: threading.Event) -> None:
        """Take events until asked to end; a Redis that is away is waited for."""
        _log.debug("ready to take from the intake")
        while not ended.is_set():
            try:
                pause = self.look()
            except Exception as error:  # noqa: BLE001 - whatever it was, what is in the list is there for the next look
                _log.warning("nothing taken from the intake: %s", type(error).__name__)
                pause = _AFTER_TROUBLE_SECONDS
            if pause:
                ended.wait(pause)
        try:
            self._intake.leave()
        except Exception as error:  # noqa: BLE001 - then its lease ends by itself
            _log.warning("the intake was not handed over: %s", type(error).__name__)

    def look(self) -> float:
        """Take what is there now, as much as one batch holds; returns how long to wait before the next look (s)."""
        taken = self._intake.take()
        if not isinstance(taken, Taken):
            return max(self._pause, min(taken, _AFTER_TROUBLE_SECONDS))
        if not taken.entries:
            return self._pause
        judged = [self._judged(entry) for entry in taken.entries]
        duplicates = self._intake.settle(taken.first, judged)
        if duplicates is not None:
            _log_taken(judged, duplicates)
        return 0.0

    def _judged(self, entry: bytes | int) -> Posting | Refusal:
        try:
            if isinstance(entry, int):
                raise too_large(entry)
            return self._check(entry)
        except PermanentError as error:
            return self._refusal(error, {} if isinstance(entry, int) else _readable(entry))

    def _refusal(self, error: PermanentError, event: dict[str, Any]) -> Refusal:
        data = event.get("data")
        vm = data.get("vm") if isinstance(data, dict) else None
        identity = _matching(_ID, event.get("id"))
        uuid = _matching(_UUID, vm.get("uuid") if isinstance(vm, dict) else None, lower=True)
        at = self._clock.now()
        source = _matching(_SOURCE, event.get("source"))
        letter = DeadLetter(at, "intake", str(error), identity, uuid, source)
        if identity is None or source is None or uuid is None:
            return Refusal(letter)
        kind, sequence = _matching(_TYPE, event.get("type")), data.get("sequence") if isinstance(data, dict) else None
        outcome = Outcome(
            event_id=identity,
            source=source,
            event_type=short_type(kind) if kind else "unknown",
            vm_uuid=uuid,
            sequence=sequence if type(sequence) is int and 0 <= sequence <= MAX_SEQUENCE else 0,
            status=Status.REJECTED,
            at=at,
            code=error.code,
            detail=error.detail,
            remedy=error.remedy,
            attempts=0,
        )
        return Refusal(letter, outcome)


def _readable(entry: bytes) -> dict[str, Any]:
    """Return what can be read of a refused entry, to say whose it is."""
    if len(entry) > _READ_BYTES:
        return {}
    try:
        event = json.loads(entry)
    except (ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}


def _matching(form: re.Pattern[str], value: object, *, lower: bool = False) -> str | None:
    if not isinstance(value, str):
        return None
    text = value.lower() if lower else value
    return text if form.fullmatch(text) else None


def _log_taken(judged: Sequence[Posting | Refusal], duplicates: int) -> None:
    refusals = [item for item in judged if isinstance(item, Refusal)]
    _log.info("took %d events from the intake", len(judged) - len(refusals) - duplicates)
    if refusals or duplicates:
        _log.warning(
            "refused %d entries of the intake, and stored %d others not: see `configdrive dead`",
            len(refusals),
            duplicates,
        )
