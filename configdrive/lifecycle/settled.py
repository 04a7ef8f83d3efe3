"""The end of an attempt that came to one: the event's outcome, and what is to be remembered of the VM."""

from __future__ import annotations

from dataclasses import dataclass

from configdrive.contract.outcome import Outcome
from configdrive.lifecycle.state import Leftover
from configdrive.model import HostName, Intent


@dataclass(frozen=True, slots=True)
class Settled:
    """The end of an attempt.

    Args:
        outcome: what became of the event.
        state: to remember; `None`: as it was.
        gone: the state is a tombstone, and may be forgotten after a while.
        left: what hosts still have of the VM, and are to be asked for again.
        intents: those that were looked at, and are no more.
    """

    outcome: Outcome
    state: str | None = None
    gone: bool = False
    left: tuple[Leftover, ...] = ()
    intents: tuple[Intent, ...] = ()

    @property
    def left_on(self) -> tuple[HostName, ...]:
        """These hosts."""
        return tuple(dict.fromkeys(one.host for one in self.left))


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of looking after a VM that a worker may have left half-done; as in `Settled`."""

    state: str | None = None
    gone: bool = False
    left: tuple[Leftover, ...] = ()
    intents: tuple[Intent, ...] = ()
