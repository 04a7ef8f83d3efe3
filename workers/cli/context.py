"""The fleet as commands reach it: opened as the settings say, closed when the command ends."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from workers.config.settings import Settings
    from workers.store.inspection import Inspection

_SAID = f"{__name__}.ignored_variables"


def load_settings(*, says_ignored: bool = False) -> Settings:
    """Read the settings, and say on stderr which variables are called like one and are none.

    `says_ignored`: the command says so itself, in its log or among its findings.

    Raises:
        PermanentError: `MISCONFIGURED`.
    """
    from workers.config import settings
    from workers.config.unknown_variables import ignored_variables

    loaded = settings.load_settings()
    once = click.get_current_context().meta
    if not says_ignored and not once.get(_SAID):
        once[_SAID] = True
        for one in ignored_variables(os.environ):
            click.echo(f"warning: {one.detail}. {one.remedy}", err=True)
    return loaded


def open_mailbox(settings: Settings | None = None, *, patient: bool = False) -> Inspection:
    """Return the mailboxes, with what operators ask beside; the first use connects.

    A person wants to know within seconds that Redis is away; `patient` is for a process that goes on.

    Raises:
        PermanentError: `MISCONFIGURED`, when the settings or the URL in them cannot be read.
    """
    from configdrive.client.connection import connect_redis
    from workers.store.inspection import Inspection
    from workers.store.mailbox import MailboxOptions

    settings = settings or load_settings()
    mailbox = Inspection(connect_redis(settings, patient=patient), MailboxOptions.of(settings))
    click.get_current_context().call_on_close(mailbox.close)
    return mailbox


def note_action(mailbox: Inspection, action: str, vm: str | None, reason: str) -> None:
    """Record what an operator does: who, when, to which VM, and why; `configdrive show` prints it."""
    import getpass
    import socket
    import time

    from workers.store.inspection import OperatorEntry

    mailbox.note(OperatorEntry(time.time(), f"{getpass.getuser()}@{socket.gethostname()}", action, vm, reason))
