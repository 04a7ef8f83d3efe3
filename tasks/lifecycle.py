"""The Celery task that one lifecycle event becomes: one row in Flower, with its retries and its outcome."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Celery, Task
from celery.exceptions import Retry

from configdrive.errors import PermanentError
from configdrive.outcome import Outcome, Status
from tasks.mailbox import DeadLetter
from tasks.turn import Ended, Later, Nothing, Turns
from tasks.wakeup import TASK_NAME, read


class Parked(Exception):  # noqa: N818 - the word that operators see in Flower
    """What Flower shows for a parked event: its code and detail, no more."""


class Refused(Exception):  # noqa: N818 - as above
    """What Flower shows for a message that is no wake-up."""


def register(app: Celery, turns: Callable[[], Turns], bury: Callable[[DeadLetter], None]) -> Task[Any, Any]:
    """Add the task to a Celery app. `turns` is called in the process that works, never before it was forked."""

    @app.task(name=TASK_NAME, bind=True, acks_late=False, ignore_result=True, max_retries=None, throws=(Parked, Refused))
    def lifecycle(self: Task[Any, Any], /, *arguments: object, **_named: object) -> str:
        """Work on one event; its result is the sentence that Flower shows."""
        problem: Exception
        try:
            wakeup = read(self.request.id, arguments)
            verdict = turns().take(wakeup.vm_uuid, wakeup.event_id)
        except PermanentError as error:
            bury(DeadLetter(time.time(), "broker", f"{error.code}: {error.detail}"))
            problem = Refused(error.detail)
        else:
            match verdict:
                case Ended(outcome) if outcome.status is Status.PARKED:
                    problem = Parked(_sentence(outcome))
                case Ended(outcome) | Nothing(_, Outcome() as outcome):
                    return _sentence(outcome)
                case Nothing(why):
                    return f"nothing to do: {why}"
                case Later(after, code):
                    # Shown in Flower as a retry. Nothing is sent: the due time in the mailbox is the retry.
                    problem = Retry(exc=Parked(code), when=datetime.now(UTC) + timedelta(seconds=after))
        raise problem  # outside of the handlers: no traceback or context of what went before travels with it

    return lifecycle


def _sentence(outcome: Outcome) -> str:
    parts = [outcome.status.value, outcome.code or "", outcome.detail]
    facts = [f"{name}={outcome.facts[name]}" for name in ("attach", "device", "password") if name in outcome.facts]
    return ": ".join(part for part in parts if part) + (f" ({', '.join(facts)})" if facts else "")
