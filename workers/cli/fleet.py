"""The fleet as commands reach it: the mailboxes, with the patience of a person, and arguments that several take."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click
from typing_extensions import override

if TYPE_CHECKING:
    from workers.census import Census
    from workers.settings import Settings
    from workers.store import RedisMailbox

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


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


def open_mailbox(settings: Settings) -> RedisMailbox:
    """Return the mailboxes; the first use connects, and says within seconds when it cannot.

    Raises:
        PermanentError: `MISCONFIGURED`, when the URL cannot be read.
    """
    from workers.access import connect_redis, make_mailbox

    return make_mailbox(settings, connect_redis(settings, patient=False))


def open_census(settings: Settings) -> Census:
    """Return the mailboxes as `open_mailbox` does, with what operators ask beside.

    Raises:
        PermanentError: `MISCONFIGURED`, when the URL cannot be read.
    """
    from workers.access import connect_redis, store_options
    from workers.census import Census

    return Census(connect_redis(settings, patient=False), store_options(settings))
