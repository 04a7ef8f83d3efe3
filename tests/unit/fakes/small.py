"""The ports that need only a few lines."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field

from typing_extensions import override

from configdrive.errors import PermanentCode, PermanentError, StaleCode, StaleError
from configdrive.ports import Clock, Lease, Observer, Sealer, StepRecord


class FakeSealer(Sealer):
    """Boxes that anybody can open who knows how, but only under the context they were made for."""

    def __init__(self) -> None:
        self.lost = False
        """Whether the keys are lost: then nothing can be opened."""

    @override
    def seal(self, plaintext: bytes, context: str) -> str:
        sealed = base64.urlsafe_b64encode(context.encode() + b"\n" + plaintext[::-1]).decode()
        return f"v1.0000000000000000.{sealed}"

    @override
    def open(self, sealed: str, context: str) -> bytes:
        try:
            found, _, reversed_plaintext = base64.urlsafe_b64decode(sealed.rpartition(".")[2]).partition(b"\n")
        except ValueError:
            found, reversed_plaintext = b"", b""
        if self.lost or found != context.encode():
            raise PermanentError(PermanentCode.UNSEALABLE, "a sealed cannot be opened")
        return reversed_plaintext[::-1]


@dataclass
class FakeClock(Clock):
    """A clock that stands still until it is moved."""

    time: float = 1_773_126_780.0

    @override
    def now(self) -> float:
        return self.time


@dataclass
class FakeLease(Lease):
    """A lease that holds, until `loses` says that it does not."""

    loses: Callable[[], bool] = lambda: False
    checks: int = 0

    @override
    def check(self) -> None:
        self.checks += 1
        if self.loses():
            raise StaleError(StaleCode.LEASE_LOST, "another worker has taken over")


@dataclass
class RecordingObserver(Observer):
    """Remembers the steps it took note of."""

    records: list[StepRecord] = field(default_factory=list)

    @override
    def step(self, record: StepRecord) -> None:
        self.records.append(record)

    @property
    def steps(self) -> list[str]:
        return [record.step for record in self.records]
