"""The end of an attempt that came to one: the event's outcome, and what is to be remembered of the VM."""

from __future__ import annotations

from dataclasses import dataclass

from configdrive.contract.outcome import Outcome
from configdrive.model import HostName


@dataclass(frozen=True, slots=True)
class Settled:
    """The end of an attempt.

    Args:
        outcome: what became of the event.
        state: to remember; `None`: as it was.
        gone: the state is a tombstone, and may be forgotten after a while.
        left_on: the hosts on which something of the VM is left.
    """

    outcome: Outcome
    state: str | None = None
    gone: bool = False
    left_on: tuple[HostName, ...] = ()
