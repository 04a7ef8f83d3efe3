"""What must be true of one VM, by the architecture's table of events: told in its words, not by the product's code.

The one thing that is left open is what the fleet may choose: an event behind which a stop or destroy waits may be left
out, and one that a person gave up is not done. So the model is told how each event ended, says whether it may end so,
and what follows from it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from configdrive.contract.outcome import Outcome, Status
from configdrive.model import UUID_PATTERN, HostName
from tests.chaos.plan import LOCAL, Life, Sent, Step
from tests.e2e.known_secrets import PASSWORD, USER_DATA

_UUID = UUID_PATTERN.encode()
_PASSWORD = re.compile(re.escape(PASSWORD.encode()) + rb"\." + _UUID + rb"\.\d+\.")
_USER_DATA = re.compile(re.escape(USER_DATA.encode()) + rb"# " + _UUID + rb"\.\d+\.\n")


@dataclass(frozen=True, slots=True)
class Content:
    """The secrets on a drive."""

    password: str | None = None
    user_data: str | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What is true of a VM's drive.

    Args:
        generation: of the one image there is; `None`: there is none.
        attached: it is in the drive; otherwise it only lies on the storage.
        pending, carried: the password that waits for the next start, and the one of the present boot.
        destination: where a prepared migration goes: the image lies there too.
        unsettled: an event was given up half done. The next start, stop or destroy sets it right.
    """

    host: HostName
    sequence: int = -1
    known: bool = False
    gone: bool = False
    generation: int | None = None
    attached: bool = False
    pending: str | None = None
    carried: str | None = None
    user_data: str | None = None
    destination: HostName | None = None
    unsettled: bool = False


class WrongError(Exception):
    """An event ended as it must not."""


@dataclass
class Model:
    """One VM's.

    Args:
        contents: what may be on the image of each generation.
        on: whether the VM runs.
    """

    life: Life
    published: list[Step] = field(default_factory=list)
    contents: dict[int, Content] = field(default_factory=dict)
    on: bool = False
    skipped: bool = False

    def __post_init__(self) -> None:
        self.state = State(self.life.host)

    @property
    def places(self) -> set[HostName | None]:
        """The hosts on whose storage the image lies; `None` is the shared one."""
        state = self.state
        if state.generation is None:
            return set()
        if self.life.root != LOCAL:
            return {None}
        return {state.host} if state.destination is None else {state.host, state.destination}

    def ended(self, step: Step, outcome: Outcome) -> None:
        """Take in how an event ended.

        Raises:
            WrongError: it must not end so.
        """
        before = self.state
        reason = (outcome.status, outcome.code)
        if before.gone:
            self._require(reason == (Status.DROPPED, "vm_gone"), step, outcome, "the VM is gone")
            return
        if step.sequence <= before.sequence:
            self._require(reason == (Status.DROPPED, "stale_sequence"), step, outcome, "the event is stale")
            return
        after = self._done(before, step)
        if after.generation == step.sequence:
            self.contents[after.generation] = Content(
                after.carried if after.attached else after.pending, after.user_data
            )
        match outcome.status:
            case Status.APPLIED:
                self._require(step.sent is not Sent.STOLEN, step, outcome, "its box is another VM's")
                self._require(step.kind == "destroy" or self._applies(step), step, outcome, "it does not apply")
                left = step.kind in {"stop", "destroy"}  # they end whatever is broken, and say what and why they left
                self._require(outcome.code is None or left, step, outcome, "an applied event has no such code")
                self.state = after
            case Status.NOT_APPLICABLE:
                self._require(not self._applies(step) and step.kind != "destroy", step, outcome, "it does apply")
                self.state = after
            case Status.DROPPED:
                self._require(outcome.code == "superseded", step, outcome, "no reason to drop it")
                self._require(self._successor_waits(step), step, outcome, "nothing behind it supersedes it")
                self.state = self._taken_in(before, step)
                if step.data.get("phase") == "complete":
                    self.state = replace(self.state, host=step.data["destination"], destination=None)
            case Status.SKIPPED:
                self._require(step.skip, step, outcome, "no person gave it up")
                self.skipped = True
                self.state = replace(before, unsettled=True)
            case _:
                self._require(False, step, outcome, "no such end")  # noqa: FBT003  # reads as a sentence

    def _applies(self, step: Step) -> bool:
        if not self.life.wanted:
            return False
        return step.kind != "password_reset" or self.life.password_enabled

    def _successor_waits(self, step: Step) -> bool:
        position = next(index for index, other in enumerate(self.published) if other is step)
        behind = {other.kind for other in self.published[position + 1 :] if other.sequence > step.sequence}
        return "destroy" in behind or ("stop" in behind and step.kind != "stop")

    def _taken_in(self, state: State, step: Step) -> State:
        """What an event leaves behind that is not acted on: what it says of the content."""
        state = replace(state, sequence=step.sequence)
        if step.kind == "deploy":
            state = replace(state, pending=None, carried=None, user_data=None)
        if step.sent is Sent.STOLEN:
            return state
        if step.user_data is not None:
            state = replace(state, user_data=step.user_data)
        if step.password is not None:
            state = replace(state, pending=step.password)
        if not self.life.password_enabled and step.kind in {"deploy", "start", "update", "password_reset"}:
            state = replace(state, pending=None, carried=None)
        if step.kind == "stop":
            return state
        host = step.data.get("host")
        return replace(state, host=host) if host in {"h1", "h2", "h3"} and step.kind != "migrate" else state

    def _done(self, before: State, step: Step) -> State:
        """What is true once the event has been done."""
        state = replace(self._taken_in(before, step), known=True)
        live = self.on and step.data.get("apply") == "now"
        match step.kind:
            case "destroy":
                after = State(state.host, state.sequence, known=True, gone=True)
            case "migrate":
                after = _migrated(state, step)
            case _ if not self.life.wanted:
                after = state
            case "deploy" if not step.data["start"]:
                after = replace(state, generation=step.sequence, attached=False, destination=None)
            case "deploy" | "start":
                after = _attached(_carrying(state), step)
            case "stop":
                after = _stopped(state, booted=step.data.get("booted", True))
            case "password_reset":
                after = _attached(_carrying(state), step) if live and self.life.password_enabled else state
            case _:
                delivered = bool(step.data.get("password_delivered"))
                state = replace(state, carried=None) if delivered else state
                after = _attached(state, step) if live or (self.on and delivered) else state
        return after

    @staticmethod
    def _require(holds: bool, step: Step, outcome: Outcome, why: str) -> None:  # noqa: FBT001  # the claim itself
        if not holds:
            ended = f"{outcome.status} {outcome.code or ''} {outcome.detail}"
            raise WrongError(f"{step.kind} #{step.sequence} ended as {ended.strip()}, but {why}")


def _attached(state: State, step: Step) -> State:
    return replace(state, generation=step.sequence, attached=True, destination=None, unsettled=False)


def _stopped(state: State, *, booted: bool) -> State:
    """A password that was carried is consumed, unless the boot failed and no newer one waits."""
    kept = state.pending if booted or state.pending is not None else state.carried
    gone = replace(state, generation=None, attached=False, destination=None, unsettled=False)
    return replace(gone, pending=kept, carried=None)


def _migrated(state: State, step: Step) -> State:
    match step.data["phase"]:
        case "prepare":
            return replace(state, destination=step.data["destination"])
        case "complete":
            return replace(state, host=step.data["destination"], destination=None)
        case _:
            return replace(state, destination=None)


def _carrying(state: State) -> State:
    """A start takes the password that waits along; one that is carried already stays."""
    return state if state.pending is None else replace(state, pending=None, carried=state.pending)


def in_order(published: Sequence[str], seen: Sequence[str]) -> bool:
    """Say whether what was seen came in the order in which it was published."""
    wanted = set(published)
    return [event for event in seen if event in wanted] == list(published)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something is as it must not be.

    Args:
        check: which of the checks has found it.
        what: in words.
        vm: whose life it is about, by its number.
        step: and where in it.
    """

    check: str
    what: str
    vm: int | None = None
    step: str = ""


def unlike(image: bytes, wanted: Content | None, life: Life) -> Iterator[str]:
    """Say how an image differs from what shall be on it. Its bytes are searched as they are: nothing may hide there."""
    if wanted is None:
        yield "what nobody asked for"
        return
    for name, pattern, value in (
        ("password", _PASSWORD, wanted.password),
        ("user data", _USER_DATA, wanted.user_data),
    ):
        found = set(pattern.findall(image))
        expected = set() if value is None else {value.encode()}
        if found != expected:
            yield f"the {name} {sorted(found)}, not {sorted(expected)}"
    if f'"uuid": "{life.uuid}"'.encode() not in image and f'"uuid":"{life.uuid}"'.encode() not in image:
        yield "another VM's meta data"
