"""Waiting for outcomes, and what they mean for the exit code."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click
from typing_extensions import override

from workers.cli.exits import ExitCode

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from configdrive.contract.outcome import Outcome
    from tasks.mailbox import Mailbox

WAIT_SECONDS = 60.0
_POLL_SECONDS = 1.0


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


def code_of(outcome: Outcome) -> ExitCode:
    """Say whether an event came to what it asked for; one that a later event made pointless did no worse."""
    from configdrive.contract.outcome import Status
    from configdrive.errors import StaleCode

    if outcome.status in {Status.APPLIED, Status.NOT_APPLICABLE} or outcome.code == StaleCode.SUPERSEDED:
        return ExitCode.DONE
    return ExitCode.FAILED


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


wait_option = click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="[SECONDS]",
    help=f"Wait for the outcome and print it; {WAIT_SECONDS:g} seconds at most unless another number is given.",
)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
