"""Celery's remote control, cut down to questions: whoever may write to Redis must not steer workers past the mailboxes.

A revoked task would be a wake-up that nobody takes, `shutdown` a fleet that stands still, and `hello`, by its kind a
question, revokes as well. What a worker is asked to do comes by signals (`configdrive worker`) and as events.
"""

from __future__ import annotations

from typing import Final

QUESTIONS: Final = frozenset(
    {
        "active",
        "active_queues",
        "clock",
        "conf",
        "heartbeat",
        "ping",
        "query_task",
        "registered",
        "reserved",
        "revoked",
        "scheduled",
        "stats",
    }
)
"""What Flower and `celery inspect` may ask. `conf` comes without passwords; `heartbeat`, which Flower asks for when it
starts, is answered by an event."""


def restrict_to_questions() -> None:
    """Forget every remote control command of this process that is none of the questions, alias names included."""
    from celery.worker.control import Panel  # noqa: PLC0415 - only a worker needs it

    for names in (Panel.data, Panel.meta):
        for name in names.keys() - QUESTIONS:
            del names[name]
