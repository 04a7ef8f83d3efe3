"""The ports that need only a few lines."""

import base64
import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from typing_extensions import override

from configdrive.errors import PermanentCode, PermanentError, StaleCode, StaleError
from configdrive.model import Generation, ImageName, Intent, Vm
from configdrive.ports import Clock, ImageNamer, Lease, Observer, Sealer, StepRecord


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

    intents: list[Intent] = field(default_factory=list)

    @override
    def intend(self, intents: Collection[Intent]) -> None:
        self.check()
        self.intents += intents

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


FLEET = "fleetaaa"
"""The fleet of these tests."""


@dataclass
class FakeNamer(ImageNamer):
    """Names images with a key that may be changed."""

    key: str = "key"

    @override
    def name(self, vm: Vm, generation: Generation, sha256: str) -> ImageName:
        return ImageName.of(vm.instance_name, vm.uuid, generation, self._fingerprint(sha256), FLEET)

    @override
    def is_genuine(self, name: ImageName, sha256: str) -> bool:
        return name.fingerprint == self._fingerprint(sha256)

    def _fingerprint(self, sha256: str) -> str:
        digest = hashlib.sha256(f"{self.key}{sha256}".encode()).digest()
        return base64.b32encode(digest).decode().lower()[:16]
