"""The Celery task that one lifecycle event becomes: one row in Flower, with its retries and its outcome."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Celery, Task
from celery.exceptions import Ignore, Retry

from configdrive.contract.outcome import Outcome, Status
from configdrive.errors import PermanentError, StaleCode
from tasks.attempt import Ended, Later, Nothing, Turns, Verdict
from tasks.mailbox import DeadLetter, NotNow
from tasks.wakeup import TASK_NAME, Wakeup, read


class Parked(Exception):  # noqa: N818 - the word that operators see in Flower
    """What Flower shows for a parked event: its code and detail, no more."""


class Waiting(Exception):  # noqa: N818 - as above
    """What Flower shows for an event that is tried again later: the code, no more."""


class Refused(Exception):  # noqa: N818 - as above
    """What Flower shows for a message that is no wake-up."""


def register(app: Celery, turns: Callable[[], Turns], bury: Callable[[DeadLetter], None]) -> Task[Any, Any]:
    """Add the task to a Celery app. `turns` is called in the process that works, never before it was forked."""

    @app.task(
        name=TASK_NAME, bind=True, acks_late=False, ignore_result=True, max_retries=None, throws=(Parked, Refused)
    )
    def lifecycle(self: Task[Any, Any], /, *arguments: object, **_named: object) -> str:
        """Work on one event; its result is the sentence that Flower shows."""
        wakeup = _read(self.request.id, arguments)
        if isinstance(wakeup, DeadLetter):
            bury(wakeup)
            raise Refused(wakeup.reason)
        shown = _shown(turns().take(wakeup.vm_uuid, wakeup.event_id))
        if isinstance(shown, Exception):
            raise shown  # here, outside of any handler: no traceback of what went before travels with it
        return shown

    return lifecycle


def _read(task_id: object, arguments: tuple[object, ...]) -> Wakeup | DeadLetter:
    try:
        return read(task_id, arguments)
    except PermanentError as error:
        return DeadLetter(time.time(), "broker", f"{error.code}: {error.detail}")


def _shown(verdict: Verdict) -> str | Exception:
    """Say what Flower's row of the event shows: a result, or how the task ends otherwise."""
    match verdict:
        case Ended(outcome) | Nothing(_, Outcome() as outcome):
            sentence = _sentence(outcome)
            return Parked(sentence) if outcome.status is Status.PARKED else sentence
        case Later(after, code):
            # Shown as a retry. Nothing is sent: the due time in the mailbox is the retry.
            return Retry(exc=Waiting(str(code)), when=datetime.now(UTC) + timedelta(seconds=after))
        case Nothing(NotNow.TOO_EARLY | NotNow.NOT_HEAD as why):
            return Retry(exc=Waiting(why), when=datetime.now(UTC))
        case Nothing(NotNow.BUSY | StaleCode.LEASE_LOST as why):
            return Ignore(why)  # another worker is at it: the row is that worker's
        case Nothing(why):
            return f"nothing to do: {why}"


def _sentence(outcome: Outcome) -> str:
    parts = [outcome.status.value, outcome.code or "", outcome.detail]
    facts = [f"{name}={outcome.facts[name]}" for name in ("attach", "device", "password") if name in outcome.facts]
    return ": ".join(part for part in parts if part) + (f" ({', '.join(facts)})" if facts else "")
