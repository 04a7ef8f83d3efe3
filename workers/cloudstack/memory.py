"""The port behind which the adapter remembers: what was told of each VM, and which notices it has had."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from configdrive.model import VmUuid
from workers.cloudstack.decide import Told
from workers.cloudstack.notices import Notice


class Visit(Protocol):
    """The right to tell the fleet of one VM; one adapter at a time has it."""

    told: Told
    """What was told so far."""

    def next_sequence(self, told: Told) -> int:
        """Return the sequence for the VM's next event: larger than that of `told`, also after a loss of memory."""

    def check(self) -> None:
        """Return when the right still holds, and keep it for a while from now.

        Raises:
            TransientError: `VM_BUSY`: it took too long, and another adapter may have it by now.
        """

    def keep(self, told: Told) -> None:
        """Remember what was told, and that this notice was had."""


class Memory(Protocol):
    """The memory of all adapters of a fleet."""

    def had(self, notice: Notice) -> bool:
        """Whether this notice was had before."""

    def visit(self, vm: VmUuid, notice: Notice) -> AbstractContextManager[Visit]:
        """Take the right to a VM.

        Raises:
            TransientError: `VM_BUSY`: another adapter is at it.
        """
