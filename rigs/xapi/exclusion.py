"""The exclusion of xapi's per SR: one of VDI.create, VDI.destroy and SR.scan at a time.

xapi refuses the second one inside itself (`OTHER_OPERATION_IN_PROGRESS`) and tries it again after a time drawn from
1 to 20 seconds (its sources, `Repeat_with_uniform_backoff`; recorded: six creates took 0.3 to 18.9 s).
"""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Exclusion:
    """Who is at which SR.

    Attributes:
        waits: from and to which time whoever comes second sleeps, in seconds; `None`: until it is free.
        seconds: how long each one takes.
        conflicts: how often somebody came second.
    """

    waits: tuple[float, float] | None = None
    seconds: float = 0.0
    conflicts: int = 0
    _busy: set[str] = field(default_factory=set)
    _free: threading.Condition = field(default_factory=threading.Condition)
    _random: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311  # no secret

    @contextmanager
    def alone(self, sr: str, wait: Callable[[float], None]) -> Iterator[None]:
        """Do what excludes others at an SR once nobody else is there; `wait` is how one sleeps."""
        self._enter(sr, wait)
        try:
            wait(self.seconds)
            yield
        finally:
            with self._free:
                self._busy.discard(sr)
                self._free.notify_all()

    def _enter(self, sr: str, wait: Callable[[float], None]) -> None:
        while True:
            with self._free:
                if sr not in self._busy:
                    self._busy.add(sr)
                    return
                self.conflicts += 1
                if self.waits is None:
                    self._free.wait()
                    continue
                seconds = self._random.uniform(*self.waits)
            wait(seconds)
