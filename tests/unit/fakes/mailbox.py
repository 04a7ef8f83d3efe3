"""The mailboxes in memory: `tasks.mailbox.Mailbox` with the same leases, fencing, back-off, parking and sweeping."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from typing_extensions import override

from configdrive.contract.outcome import Outcome
from configdrive.model import EventId, HostName, ImageName, VmUuid
from tasks.mailbox import (
    Again,
    Claim,
    DeadLetter,
    Debt,
    Ending,
    FencedError,
    Finish,
    Glance,
    Header,
    Held,
    Mailbox,
    NotNow,
    ParkIt,
    PersonsWord,
    Posting,
    Receipt,
    Right,
    VmView,
    Wake,
)
from tests.unit.fakes.small import FakeClock


@dataclass
class Box:
    """One VM's mailbox. Times are seconds; `owned` is true while a lease was not given back, run out or not."""

    mail: list[Posting] = field(default_factory=list)
    state: str | None = None
    gone: bool = False
    epoch: int = 0
    attempts: int = 0
    deaths: int = 0
    owned: bool = False
    held: bool = False
    until: float = 0.0
    parked: tuple[str, float] | None = None
    retry_at: float | None = None
    reason: str | None = None
    wakes: int = 0
    due: float | None = None
    queue: str = ""

    def next_head(self, due: float) -> Wake | None:
        """Begin with whatever is at the head now."""
        self.attempts = self.deaths = self.wakes = 0
        self.parked = self.retry_at = self.reason = None
        self.due = None
        if not self.mail:
            return None
        header = self.mail[0].header
        self.queue, self.due = header.queue, due
        return Wake(header, 1)


class MemoryMailbox(Mailbox):
    """Everything in one process; the clock is moved by the test."""

    def __init__(self, clock: FakeClock, *, lease: float = 30.0, resend: float = 15.0) -> None:
        self._clock = clock
        self._lease = lease
        self._resend = resend
        self.boxes: dict[VmUuid, Box] = {}
        self.seen: dict[EventId, Outcome | None] = {}
        self.stream: list[Outcome] = []
        self.dead: list[DeadLetter] = []
        self.strays: dict[ImageName, float] = {}
        self.asked: dict[tuple[str, HostName], float] = {}
        self.left: dict[tuple[str, HostName, VmUuid], float] = {}

    @override
    def put(self, posting: Posting) -> Receipt:
        header = posting.header
        if header.event_id in self.seen:
            return Receipt(header.event_id, accepted=False, first=self.seen[header.event_id])
        self.seen[header.event_id] = None
        box = self.boxes.setdefault(header.vm_uuid, Box())
        box.mail.append(posting)
        return Receipt(header.event_id, accepted=True, wake=self._wake_for(box, header))

    def _wake_for(self, box: Box, header: Header) -> Wake | None:
        due = self._clock.now() + self._resend
        if box.parked is not None:
            return box.next_head(due) if header.event_type == "destroy" else None
        if len(box.mail) == 1:
            box.queue = header.queue
            box.due = due if box.due is None else box.due
            return Wake(header, 1)
        if box.retry_at is not None and header.event_type in {"destroy", "stop"}:
            box.retry_at, box.due = None, due
            return Wake(box.mail[0].header, box.attempts + 1)
        return None

    @override
    def put_many(self, postings: Sequence[Posting]) -> list[Receipt]:
        return [self.put(posting) for posting in postings]

    @override
    def claim(self, vm_uuid: VmUuid, event_id: EventId) -> Claim | NotNow:
        now = self._clock.now()
        box = self.boxes.get(vm_uuid, Box())
        if not box.mail:
            return NotNow.EMPTY
        head = box.mail[0]
        if head.header.event_id != event_id:
            return NotNow.NOT_HEAD
        if box.parked is not None:
            return NotNow.PARKED
        if box.owned and box.until > now:
            return NotNow.BUSY
        if box.retry_at is not None and box.retry_at > now:
            return NotNow.TOO_EARLY
        box.deaths += box.owned and not box.held
        box.epoch += 1
        box.attempts += 1
        box.held = False
        box.owned, box.until, box.due = True, now + self._lease, now + self._lease
        box.wakes, box.reason, box.retry_at = 0, None, None
        waiting = tuple(posting.header for posting in box.mail[1:])
        return Claim(head.header, box.epoch, box.attempts, box.deaths, head.body, box.state, waiting)

    @override
    def renew(self, right: Right) -> bool:
        box = self.boxes[right.vm_uuid]
        if box.epoch != right.epoch or not box.owned:
            return False
        box.until = self._clock.now() + self._lease
        box.due = None if box.due is None else box.until
        return True

    @override
    def hold(self, vm_uuid: VmUuid) -> Held | NotNow:
        now = self._clock.now()
        box = self.boxes.setdefault(vm_uuid, Box())
        if box.owned and box.until > now:
            return NotNow.BUSY
        if box.mail:
            return NotNow.WAITING
        box.epoch += 1
        box.owned, box.held, box.until = True, True, now + self._lease
        return Held(vm_uuid, box.epoch, box.state)

    @override
    def release(
        self, held: Held, state: str | None = None, *, gone: bool = False, paid: Debt | None = None
    ) -> Wake | None:
        box = self.boxes[held.vm_uuid]
        if box.epoch != held.epoch:
            raise FencedError
        box.owned = box.held = False
        box.state, box.gone = state or box.state, box.gone or gone
        if paid is not None:
            self.left.pop((paid.queue, paid.host, held.vm_uuid), None)
        return box.next_head(self._clock.now() + self._resend)

    @override
    def glance(self, vm_uuid: VmUuid) -> Glance:
        box = self.boxes.get(vm_uuid, Box())
        return Glance(bool(box.mail) or (box.owned and box.until > self._clock.now()), box.state)

    @override
    def stray_for(self, image: ImageName, *, note: bool) -> float | None:
        now = self._clock.now()
        if note:
            self.strays.setdefault(image, now)
        return now - self.strays[image] if image in self.strays else None

    @override
    def forget_stray(self, image: ImageName) -> None:
        self.strays.pop(image, None)

    @override
    def hosts_owing(self, queue: str, pause: float) -> list[HostName]:
        now = self._clock.now()
        due = [key for key, at in self.left.items() if key[0] == queue and at <= now]
        self.left |= dict.fromkeys(due, now + pause)
        return list(dict.fromkeys(host for _, host, _ in due))

    @override
    def may_ask(self, queue: str, host: HostName, seconds: float) -> bool:
        if self.asked.get((queue, host), 0.0) > self._clock.now():
            return False
        self.asked[queue, host] = self._clock.now() + seconds
        return True

    @override
    def owed(self, queue: str) -> dict[HostName, list[VmUuid]]:
        found: dict[HostName, list[VmUuid]] = {}
        for name, host, uuid in self.left:
            if name == queue:
                found.setdefault(host, []).append(uuid)
        return found

    @override
    def done(self, claim: Claim, ending: Ending) -> Wake | None:
        now = self._clock.now()
        box = self.boxes[claim.header.vm_uuid]
        if box.epoch != claim.epoch or not box.owned:
            raise FencedError
        box.owned = False
        match ending:
            case Again(delay, code):
                box.retry_at = box.due = now + delay
                box.reason = code
                return None
            case ParkIt() if any(posting.header.event_type == "destroy" for posting in box.mail[1:]):
                return box.next_head(now + self._resend)
            case ParkIt(outcome):
                self._tell(outcome)
                box.parked, box.due = (outcome.code or "unclassified", now), None
                return None
            case Finish(outcome, state, gone, left_on):
                self._tell(outcome)
                for host in left_on:
                    self.left.setdefault((box.queue, host, claim.vm_uuid), now + self._resend)
                box.state, box.gone = state or box.state, box.gone or gone
                box.mail.pop(0)
                return box.next_head(now + self._resend)

    def _tell(self, outcome: Outcome) -> None:
        self.stream.append(Outcome.from_json(outcome.to_json()))
        self.seen[EventId(outcome.event_id)] = outcome

    @override
    def sweep(self, queue: str, limit: int) -> list[Wake]:
        now = self._clock.now()
        found: list[Wake] = []
        for box in self.boxes.values():
            if box.due is not None and box.due <= now and box.queue == queue and len(found) < limit:
                box.due = now + self._resend * 2 ** min(box.wakes, 6)
                box.wakes += 1
                found.append(Wake(box.mail[0].header, box.attempts + 1))
        return found

    @override
    def word(self, vm_uuid: VmUuid, event_id: EventId, word: PersonsWord, outcome: Outcome | None) -> Wake | str | None:
        now = self._clock.now()
        box = self.boxes.get(vm_uuid, Box())
        if not box.mail:
            return "empty"
        if box.mail[0].header.event_id != event_id:
            return "not_head"
        if box.owned and box.until > now:
            return "busy"
        box.epoch += 1
        box.owned = False
        if word is PersonsWord.RETRY:
            self.seen[event_id] = None
        else:
            assert outcome is not None
            self._tell(outcome)
            box.mail.pop(0)
        return box.next_head(now + self._resend)

    @override
    def outcome_of(self, event_id: EventId) -> Outcome | None:
        return self.seen.get(event_id)

    @override
    def outcomes(self, after: str, block_seconds: float) -> Iterator[tuple[str, Outcome]]:
        start = len(self.stream) if after == "$" else int(after)
        if start == len(self.stream):
            self._clock.time += block_seconds
        for index in range(start, len(self.stream)):
            yield str(index + 1), self.stream[index]

    @override
    def end_of_outcomes(self) -> str:
        return str(len(self.stream))

    @override
    def bury(self, letter: DeadLetter) -> None:
        self.dead.insert(0, letter)

    @override
    def dead_letters(self, limit: int) -> list[DeadLetter]:
        return self.dead[:limit]

    def view(self, vm_uuid: VmUuid) -> VmView | None:
        box = self.boxes.get(vm_uuid)
        if box is None:
            return None
        return VmView(
            uuid=vm_uuid,
            mail=tuple(posting.header for posting in box.mail),
            state=box.state,
            parked=box.parked[0] if box.parked else None,
            attempts=box.attempts,
            owner="a worker" if box.owned else None,
            leased_until=box.until if box.owned else None,
            due=box.due,
            reason=box.reason,
        )

    def parked(self, limit: int) -> list[tuple[VmUuid, float]]:
        found = [(uuid, box.parked[1]) for uuid, box in self.boxes.items() if box.parked is not None]
        return sorted(found, key=lambda entry: entry[1])[:limit]

    def pending(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for box in self.boxes.values():
            if box.due is not None:
                counts[box.queue] = counts.get(box.queue, 0) + 1
        return counts

    def vms(self) -> Iterable[VmUuid]:
        return list(self.boxes)

    def everything(self) -> str:
        """All that is stored, to look for secrets in."""
        bodies = [posting.body.decode() for box in self.boxes.values() for posting in box.mail]
        return json.dumps([repr(self.boxes), *bodies, repr(self.stream), repr(self.dead), repr(self.seen)])
