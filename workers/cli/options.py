"""The arguments and options that several commands take, and the kinds of command that click does not have."""

from __future__ import annotations

import re
from typing import Any

import click
from typing_extensions import override

WAIT_SECONDS = 60.0
_PREFIX = 4
"""Of so many characters the beginning of a uuid is taken for one."""
_FEW = 5


class Suggesting(click.Group):
    """A group that names the nearest command to one that it has not."""

    @override
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from difflib import get_close_matches

            near = get_close_matches(args[0], self.list_commands(ctx), n=2)
            meant = f" Did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{meant}")
        return super().resolve_command(ctx, args)


class InOrder(Suggesting):
    """A group whose help lists its commands in the order in which they stand, not by their letters."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


class VmType(click.ParamType[str]):
    """A VM's uuid, in either case; or its instance name or the beginning of its uuid, if no other known VM has it."""

    name = "uuid"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the uuid, in lower case."""
        from configdrive.model import UUID_PATTERN

        text = str(value).strip()
        if re.fullmatch(UUID_PATTERN, text.lower()):
            return text.lower()
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,255}", text):
            self.fail("is neither a VM's uuid, such as 6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10, nor a name", param, ctx)
        found = sorted(self._called(text), key=lambda one: one[0] != text)
        exact = [uuid for name, uuid in found if name == text]
        chosen = exact or [uuid for _, uuid in found]
        if not chosen:
            self.fail(f"no VM is called {text!r}, or has a uuid that begins so: `configdrive list`", param, ctx)
        if len(chosen) > 1:
            shown = ", ".join(f"{uuid} ({name})" for name, uuid in found[:_FEW])
            self.fail(f"{len(chosen)} VMs are called {text!r}, or have uuids that begin so: {shown}", param, ctx)
        return chosen[0]

    @staticmethod
    def _called(text: str) -> list[tuple[str, str]]:
        """Return name and uuid of each VM that may be meant."""
        from workers.cli.context import open_mailbox

        prefix = text.lower() if len(text) >= _PREFIX else None
        return [
            (one.name, one.uuid)
            for one in open_mailbox().lines()
            if one.name == text or (prefix is not None and one.uuid.startswith(prefix))
        ]


class WaitCommand(click.Command):
    """A command whose `--wait` may be followed by seconds, or by nothing.

    click takes whatever follows for its value, so that `publish --wait event.json` would be a wrong number.
    """

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spelled = [
            f"--wait={WAIT_SECONDS:g}" if arg == "--wait" and not _is_number(following) else arg
            for arg, following in zip(args, [*args[1:], ""], strict=False)
        ]
        return super().parse_args(ctx, spelled)


VM = VmType()

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: one object, or a line for each of several."
)

wait_option = click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="[SECONDS]",
    help=f"Wait for the outcome and print it; {WAIT_SECONDS:g} seconds at most unless another number is given.",
)

metrics_port_option = click.option(
    "--metrics-port",
    type=click.IntRange(0, 65_535),
    metavar="N",
    help="Answer Prometheus there (0: on a free port, which the log names); the setting 'metrics_port' otherwise.",
)
"""Several workers on one machine share their settings, but not the port: see `process.with_metrics_port`."""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
