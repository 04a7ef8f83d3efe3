"""The Celery task that one lifecycle event becomes: one row in Flower, with its retries and its outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from celery import Celery, Task, exceptions

from configdrive.contract.outcome import Outcome, Status
from configdrive.errors import PermanentError
from configdrive.lifecycle.settled import Settled
from tasks.attempt import Attempts
from tasks.mailbox import DeadLetter, DeadLetters, Dropped, Ending, NotNow, Park, Retry
from tasks.wakeup import TASK_NAME, TASK_NAMES, read

_Message = TypeVar("_Message")


class Parked(Exception):  # noqa: N818 - the word that operators see in Flower
    """What Flower shows for a parked event: its code and detail, no more."""


class Waiting(Exception):  # noqa: N818 - as above
    """What Flower shows for an event that is tried again later: the code, no more."""


class Refused(Exception):  # noqa: N818 - as above
    """What Flower shows for a message that is no wake-up."""


def register(app: Celery, attempts: Callable[[], Attempts], dead_letters: DeadLetters) -> Task[Any, Any]:
    """Add the task to a Celery app, under a name for each type of event; returns the one for all others.

    `attempts` is called in the process that works, never before it was forked.
    """

    def lifecycle(self: Task[Any, Any], /, *arguments: object, **_named: object) -> str:
        """Work on one event; its result is the sentence that Flower shows."""
        wakeup = taken(self, arguments, read, dead_letters)
        shown = _shown(attempts().make(wakeup))
        if isinstance(shown, Exception):
            raise shown  # here, outside of any handler: no traceback of what went before travels with it
        return shown

    named = {
        name: app.task(
            name=name,
            bind=True,
            shared=False,
            acks_late=False,
            ignore_result=True,
            max_retries=None,
            throws=(Parked, Refused),
        )(lifecycle)
        for name in TASK_NAMES
    }
    return named[TASK_NAME]


def taken(
    task: Task[Any, Any],
    arguments: Sequence[object],
    read_message: Callable[[object, Sequence[object], str], _Message],
    dead_letters: DeadLetters,
) -> _Message:
    """Read the message that a task was called with.

    Raises:
        Refused: it is none of ours; it went to the dead letters.
    """
    queue = str((task.request.delivery_info or {}).get("routing_key"))
    try:
        return read_message(task.request.id, arguments, queue)
    except PermanentError as error:
        reason = f"{error.code}: {error.detail}"
    dead_letters.dead_letter(DeadLetter(time.time(), "broker", reason))
    raise Refused(reason)


def _shown(ending: Ending | Dropped) -> str | Exception:
    """Say what Flower's row of the event shows: a result, or how the task ends otherwise."""
    match ending:
        case Settled(outcome) | Park(outcome, _, _) | Dropped(_, Outcome() as outcome):
            sentence = _sentence(outcome)
            return Parked(sentence) if outcome.status is Status.PARKED else sentence
        case Retry(delay, code, _, detail):
            # Shown as a retry. Nothing is sent: the due time in the mailbox is the retry.
            words = f"{code}: {detail}" if detail else str(code)
            return exceptions.Retry(exc=Waiting(words), when=datetime.now(UTC) + timedelta(seconds=delay))
        case Dropped(NotNow.TOO_EARLY | NotNow.ELSEWHERE as why):
            return exceptions.Retry(exc=Waiting(why), when=datetime.now(UTC))
        case Dropped(why):
            # Another worker is at it, or the event has ended: the row is that worker's, and keeps what it says.
            return exceptions.Ignore(why)


def _sentence(outcome: Outcome) -> str:
    parts = [outcome.status.value, outcome.code or "", outcome.detail]
    facts = [f"{name}={outcome.facts[name]}" for name in ("attach", "device", "password") if name in outcome.facts]
    return ": ".join(part for part in parts if part) + (f" ({', '.join(facts)})" if facts else "")
