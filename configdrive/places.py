"""Places: at which host or storage a thread is right now, and at what it is alone, said by whoever makes calls there.

A place that hangs must hold up its own VMs only. So who starts an attempt may watch where it is: it is asked before
each place, and may have the attempt leave one in which it waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from typing import Protocol

from configdrive.errors import TransientCode, TransientError
from configdrive.model import HostName, Place


class PlaceHangs(Exception):  # noqa: N818 - what it says of the place
    """Raised within a call: nobody waits for it any longer. `at` makes a `DEFERRED` of it."""


class Visitor(Protocol):
    """Watches where an attempt is."""

    def enter(self, place: str) -> None:
        """Take note that calls to a place begin.

        Raises:
            TransientError: `DEFERRED`: it hangs, and another attempt finds out whether it answers again.
        """

    def leave(self, error: BaseException | None) -> None:
        """Take note that they have ended; called for each `enter` that returned, the newest first. Raises nothing."""

    def require_welcome(self) -> None:
        """Return unless the attempt is to leave the place where it is.

        Raises:
            PlaceHangs: it is.
        """

    def alone(self, what: str) -> AbstractContextManager[bool]:
        """Be the only attempt of the whole fleet at something; gives whether another one was before.

        Raises:
            TransientError: `DEFERRED`: too many are before.
        """

    def line_up(self, what: str) -> None:
        """Wait until it is nearly time to be `alone` at something.

        Raises:
            TransientError: `DEFERRED`, as `alone`.
        """


_visitor: ContextVar[Visitor | None] = ContextVar("visitor", default=None)


def current() -> Visitor | None:
    """Return who watches this thread."""
    return _visitor.get()


@contextmanager
def watched_by(visitor: Visitor) -> Iterator[None]:
    """Have this thread watched within the block."""
    token = _visitor.set(visitor)
    try:
        yield
    finally:
        _visitor.reset(token)


@contextmanager
def at(*places: HostName | Place) -> Iterator[None]:
    """Say that all calls within the block go to these places, the last of which is the one that may hang.

    Raises:
        TransientError: `DEFERRED`, as `Visitor.enter`.
    """
    visitor = current()
    if visitor is None:
        yield
        return
    with ExitStack() as stack:
        for place in places:
            stack.enter_context(_at(visitor, _key(place)))
        yield


@contextmanager
def _at(visitor: Visitor, place: str) -> Iterator[None]:
    visitor.enter(place)
    try:
        yield
    except PlaceHangs:
        error = deferred(place)
        visitor.leave(error)
        raise error from None
    except BaseException as error:
        visitor.leave(error)
        raise
    else:
        visitor.leave(None)


@contextmanager
def alone(what: str) -> Iterator[bool]:
    """Be the only attempt of the whole fleet at something that goes one at a time; gives whether another was before.

    Outside of an attempt nobody waits.

    Raises:
        TransientError: `DEFERRED`, as `Visitor.alone`.
    """
    visitor = current()
    if visitor is None:
        yield False
        return
    with visitor.alone(what) as waited:
        yield waited


def line_up(what: str) -> None:
    """Wait in line for something that goes one at a time until it is nearly time; before any call is made for it.

    Raises:
        TransientError: `DEFERRED`, as `Visitor.line_up`.
    """
    visitor = current()
    if visitor is not None:
        visitor.line_up(what)


def deferred(place: str) -> TransientError:
    """Make the error for a place that hangs, at which another VM's attempt is."""
    detail = f"{place} hangs: another VM's attempt finds out whether it answers again"
    return TransientError(TransientCode.DEFERRED, detail, "see what is wrong there")


def _key(place: HostName | Place) -> str:
    if isinstance(place, Place):
        return f"storage {place.storage}" + (f" of host {place.host}" if place.host is not None else "")
    return f"host {place}"
