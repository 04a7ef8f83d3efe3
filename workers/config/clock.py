"""The clock of a process: the machine's own."""

from __future__ import annotations

import time

from typing_extensions import override

from configdrive.ports import Clock


class SystemClock(Clock):
    """The machine's clock."""

    @override
    def now(self) -> float:
        return time.time()
