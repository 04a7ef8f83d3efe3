"""The progress bar on the terminal of whoever waits, for what may take long; elsewhere nothing of it is shown."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MANY = 50
"""From so many on that end each in a moment, a bar, what went wrong and a summary take the place of a line for each."""

_Thing = TypeVar("_Thing")


@contextmanager
def bar(label: str, length: int | None, *, hidden: bool = False) -> Iterator[Callable[[int], None]]:
    """Show a bar meanwhile; the block calls what it is given with the steps that were made.

    Args:
        label: what goes on.
        length: how many steps there are; `None` when nobody knows.
        hidden: show none, as where JSON is asked for.
    """
    if hidden or length == 0 or not sys.stderr.isatty():
        yield _nothing
        return
    endless = None if length is not None else iter(int, 1)  # click wants to see that nobody knows
    with click.progressbar(endless, length=length, label=label, file=sys.stderr, show_pos=True) as shown:
        yield shown.update


def watched(things: Iterable[_Thing], label: str, length: int | None, *, hidden: bool = False) -> Iterator[_Thing]:
    """Yield what there is, with a bar meanwhile; the arguments are those of `bar`."""
    with bar(label, length, hidden=hidden) as advance:
        for thing in things:
            yield thing
            advance(1)


def _nothing(_steps: int) -> None:
    """No bar is shown."""
