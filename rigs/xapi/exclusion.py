"""The exclusion of xapi's per SR: one of VDI.create, VDI.destroy and SR.scan at a time.

xapi refuses the second one inside itself (`OTHER_OPERATION_IN_PROGRESS`) and tries it again after a time drawn from
1 to 20 seconds (its sources, `Repeat_with_uniform_backoff`; recorded: six creates took 0.3 to 18.9 s).
"""

from __future__ import annotations

import random
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rigs.xapi.errors import XapiError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rigs.xapi.world import World

_METHODS = frozenset({"VDI.create", "VDI.destroy", "SR.scan"})


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
    def alone(self, world: World, method: str, arguments: list[object]) -> Iterator[None]:
        """Do what excludes others once nobody else is there; anything else at once."""
        sr = _sr(world, arguments[0]) if method in _METHODS and arguments else None
        if sr is None:
            yield
            return
        self._enter(world, sr)
        try:
            world.faults.wait(self.seconds)
            yield
        finally:
            with self._free:
                self._busy.discard(sr)
                self._free.notify_all()

    def _enter(self, world: World, sr: str) -> None:
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
            world.faults.wait(seconds)


def _sr(world: World, what: object) -> str | None:
    """The SR of a constructor's record, of a VDI, or the one itself."""
    if isinstance(what, dict):
        return str(what.get("SR"))
    with world.lock:
        try:
            return str(world.db.row("VDI", str(what))["SR"])
        except XapiError:
            return str(what)
