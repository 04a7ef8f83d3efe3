"""The fleet as commands reach it: opened as the settings say, closed when the command ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from celery import Celery

    from configdrive.contract.outcome import Outcome
    from tasks.mailbox import Mailbox
    from workers.config.settings import Settings
    from workers.store.inspection import Census

_POLL_SECONDS = 1.0


def load_settings() -> Settings:
    """Read the settings.

    Raises:
        PermanentError: `MISCONFIGURED`.
    """
    from workers.config import settings

    return settings.load_settings()


def open_mailbox(settings: Settings | None = None, *, patient: bool = False) -> Census:
    """Return the mailboxes, with what operators ask beside; the first use connects.

    A person wants to know within seconds that Redis is away; `patient` is for a process that goes on.

    Raises:
        PermanentError: `MISCONFIGURED`, when the settings or the URL in them cannot be read.
    """
    from workers.access import connect_redis, store_options
    from workers.store.inspection import Census

    settings = settings or load_settings()
    mailbox = Census(connect_redis(settings, patient=patient), store_options(settings))
    click.get_current_context().call_on_close(mailbox.close)
    return mailbox


def open_app(settings: Settings) -> Celery:
    """Return the Celery app through which wake-ups are sent."""
    from workers.queueing.app import make_app

    app = make_app(settings)
    click.get_current_context().call_on_close(app.close)
    return app


def outcomes_of(mailbox: Mailbox, wanted: Collection[str], since: str, seconds: float) -> Iterator[Outcome]:
    """Yield the outcome of each wanted event as it comes, for so many seconds at most.

    `since` is a position in the stream (`Mailbox.end_of_outcomes`) from before the events could have had one.
    """
    missing = set(wanted)
    deadline = time.monotonic() + seconds
    while missing and (left := deadline - time.monotonic()) > 0:
        for position, outcome in mailbox.outcomes(since, min(left, _POLL_SECONDS)):
            since = position
            if outcome.event_id in missing:
                missing.discard(outcome.event_id)
                yield outcome
