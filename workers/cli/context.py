"""The fleet as commands reach it, closed again when the command ends, and the arguments that several commands take."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click
from typing_extensions import override

if TYPE_CHECKING:
    from celery import Celery

    from workers.config.settings import Settings
    from workers.store.inspection import Census

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class InOrder(click.Group):
    """A group whose help lists its commands in the order in which they stand, not by their letters."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


class VmType(click.ParamType[str]):
    """A VM's uuid, in either case."""

    name = "uuid"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it in lower case."""
        uuid = str(value).strip().lower()
        if not _UUID.fullmatch(uuid):
            self.fail("is not a VM's uuid, such as 6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10", param, ctx)
        return uuid


VM = VmType()


def open_mailbox(settings: Settings, *, patient: bool = False) -> Census:
    """Return the mailboxes, with what operators ask beside; the first use connects.

    A person wants to know within seconds that Redis is away; `patient` is for a process that goes on.

    Raises:
        PermanentError: `MISCONFIGURED`, when the URL cannot be read.
    """
    from workers.access import connect_redis, store_options
    from workers.store.inspection import Census

    mailbox = Census(connect_redis(settings, patient=patient), store_options(settings))
    click.get_current_context().call_on_close(mailbox.close)
    return mailbox


def open_app(settings: Settings) -> Celery:
    """Return the Celery app through which wake-ups are sent."""
    from workers.queueing.app import make_app

    app = make_app(settings)
    click.get_current_context().call_on_close(app.close)
    return app
