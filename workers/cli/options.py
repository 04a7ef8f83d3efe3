"""The arguments and options that several commands take, and the kinds of command that click does not have."""

from __future__ import annotations

import re
from typing import Any

import click
from typing_extensions import override

WAIT_SECONDS = 60.0


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
        from configdrive.model import UUID_PATTERN

        uuid = str(value).strip().lower()
        if not re.fullmatch(UUID_PATTERN, uuid):
            self.fail("is not a VM's uuid, such as 6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10", param, ctx)
        return uuid


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

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")

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
