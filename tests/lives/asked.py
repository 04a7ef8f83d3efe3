"""Asked: what a VM's events ask for, once they have ended, in the words of the contract: the model of a VM's life."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from configdrive.contract.outcome import Outcome, Status
from configdrive.errors import PermanentCode, StaleCode
from tests.unit.documents import Json
from tests.unit.fakes.fleet import read_image

TAKES_AWAY = frozenset({"stop", "destroy"})


@dataclass(frozen=True)
class Content:
    """What the guest must find on its drive."""

    password: str | None
    user_data: str | None

    @classmethod
    def of(cls, image: bytes) -> "Content":
        """Read an image with the reader of the tests; half an image fails."""
        files = {path: content.decode(errors="replace") for path, content in read_image(image).items()}
        return cls(files.get("cloudstack/password/vm_password.txt"), files.get("cloudstack/userdata/user_data.txt"))


@dataclass(frozen=True)
class Sent:
    """An event as it was published."""

    event_id: str
    word: str
    sequence: int
    data: Json = field(default_factory=dict)
    queue: str = ""

    @property
    def host(self) -> str | None:
        """The host that it names."""
        host: str | None = self.data.get("host", "host-1")
        return host

    def is_superseded_by(self, other: "Sent") -> bool:
        """Whether another one with a higher number takes away what this one brings, or more than it takes away."""
        if other.sequence <= self.sequence or self.word == "destroy":
            return False
        return other.word == "destroy" or (other.word == "stop" and self.word != "stop")


@dataclass
class Asked:
    """What the events that have ended ask for.

    Args:
        known: whether anything is remembered of the VM.
        pending, carried: the password that waits for the next start, and the one of the present boot.
        drive: what must be in the drive; `None`: nothing of the fleet's.
        staged: what must lie on a storage for the next start.
        adopted: nothing was remembered, and something was found there: whatever it is, it stays until the next start.
    """

    sequence: int = -1
    known: bool = False
    pending: str | None = None
    carried: str | None = None
    user_data: str | None = None
    drive: Content | None = None
    staged: Content | None = None
    adopted: bool = False
    gone: bool = False

    def hear(self, sent: Sent, outcome: Outcome, waiting: Collection[Sent], *, live: bool | None) -> bool:
        """Take in an event that has ended; answers whether it has put something in the drive, or emptied it.

        Args:
            sent: the event.
            outcome: its final one.
            waiting: what waits behind it.
            live: whether the VM runs where the event says that it is; `None` when it does not say.
        """
        match outcome.status:
            case Status.SKIPPED:
                return False
            case Status.REJECTED:
                assert (sent.word, outcome.code) == ("migrate", PermanentCode.UNKNOWN_HOST), outcome
                self.sequence = max(self.sequence, sent.sequence)
                return False
            case Status.DROPPED:
                self._dropped(sent, outcome, waiting)
                return False
            case _:
                return self._done(sent, outcome, live=live)

    def _dropped(self, sent: Sent, outcome: Outcome, waiting: Collection[Sent]) -> None:
        if outcome.code == StaleCode.SUPERSEDED:
            assert any(map(sent.is_superseded_by, waiting)), outcome
            if sent.host is not None or self.known:
                self._absorb(sent)
        elif outcome.code == StaleCode.VM_GONE:
            assert self.gone, outcome
        else:
            assert outcome.code == StaleCode.STALE_SEQUENCE, outcome
            assert sent.word != "destroy", outcome
            assert sent.sequence <= self.sequence, outcome

    def _done(self, sent: Sent, outcome: Outcome, *, live: bool | None) -> bool:
        assert not self.gone or sent.word == "destroy", outcome
        assert sent.sequence > self.sequence or sent.word == "destroy", outcome
        if outcome.status is Status.NOT_APPLICABLE and sent.word in TAKES_AWAY:
            assert (self.known, sent.host) == (False, None), outcome
            return False
        if outcome.status is Status.NOT_APPLICABLE:
            assert (sent.word, sent.data.get("phase")) == ("migrate", "rollback"), outcome
            self.sequence = sent.sequence
            return False
        self.adopted |= not self.known and sent.word not in {"deploy", "start", *TAKES_AWAY}
        self._absorb(sent)
        at_once = "attach" in outcome.facts
        if sent.word in {"password_reset", "update"}:
            now = sent.data.get("apply") == "now" or "password_delivered" in sent.data
            assert at_once == (now and live) if live is not None else now or not at_once, outcome
        return bool(getattr(self, f"_{sent.word}")(sent, at_once=at_once))

    def _absorb(self, sent: Sent) -> None:
        self.sequence = max(self.sequence, sent.sequence)
        self.known = True
        guest: Any = sent.data.get("guest", {})
        if sent.word == "deploy":
            self.pending = self.carried = self.user_data = None
        self.pending = guest.get("password", self.pending)
        if "user_data" in guest:
            self.user_data = guest["user_data"]["text"]
        if sent.data.get("password_delivered"):
            self.carried = None

    def _attach(self) -> bool:
        self.drive, self.staged, self.adopted = Content(self.carried, self.user_data), None, False
        return True

    def _carry(self) -> None:
        if self.pending is not None:
            self.carried, self.pending = self.pending, None

    def _deploy(self, _sent: Sent, *, at_once: bool) -> bool:  # noqa: ARG002 - one of the words
        self.staged = Content(self.pending, self.user_data)
        return False

    def _start(self, _sent: Sent, *, at_once: bool) -> bool:  # noqa: ARG002
        self._carry()
        return self._attach()

    def _stop(self, sent: Sent, *, at_once: bool) -> bool:  # noqa: ARG002
        if not sent.data.get("booted", True) and self.pending is None:
            self.pending = self.carried
        self.carried = self.drive = self.staged = None
        self.adopted = False
        return True

    def _password_reset(self, _sent: Sent, *, at_once: bool) -> bool:
        if at_once:
            self._carry()
        return at_once and self._attach()

    def _update(self, _sent: Sent, *, at_once: bool) -> bool:
        return at_once and self._attach()

    def _migrate(self, sent: Sent, *, at_once: bool) -> bool:  # noqa: ARG002
        return sent.data["phase"] != "prepare" and self.staged is None and not self.adopted

    def _destroy(self, sent: Sent, *, at_once: bool) -> bool:  # noqa: ARG002
        self.__init__(sequence=self.sequence, known=True, gone=True)  # type: ignore[misc]
        return True
