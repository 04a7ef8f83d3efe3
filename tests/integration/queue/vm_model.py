"""One VM as the model of the mailboxes has it (`test_mailbox_model`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tasks.mailbox import Claim, Held

if TYPE_CHECKING:
    from configdrive.client.postings import Header, Posting
    from configdrive.contract.outcome import Outcome
    from configdrive.model import VmUuid
    from tasks.mailbox import Right


@dataclass
class VmModel:
    """What should be known of one VM."""

    uuid: VmUuid
    mail: list[Header] = field(default_factory=list)
    epoch: int = 0
    attempts: int = 0
    deaths: int = 0
    parked: bool = False
    away: bool = False
    trial: bool = False
    holder: Right | None = None
    through: str | None = None
    live: bool = False
    backing_off: bool = False
    retry_set: bool = False
    overdue: bool = False
    state: str | None = None
    gone: bool = False
    left: set[str] = field(default_factory=set)
    due: bool = False
    woken: set[str] = field(default_factory=set)
    seen: dict[str, Outcome | None] = field(default_factory=dict)
    items: dict[str, Posting] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    holds: list[Held] = field(default_factory=list)

    @property
    def head(self) -> Header | None:
        return self.mail[0] if self.mail else None

    def superseded_by(self, header: Header) -> bool:
        """Whether an event makes the head pointless."""
        takes_away = {"start": {"stop", "destroy"}, "stop": {"destroy"}}.get(self.mail[0].event_type, set())
        return header.event_type in takes_away and header.sequence > self.mail[0].sequence

    def wake(self) -> None:
        """A worker is woken for the head, unless a message is on its way."""
        self.woken.add(self.mail[0].queue)

    def next_head(self) -> None:
        self.attempts = self.deaths = 0
        self.parked = self.due = self.overdue = self.trial = False
        self.give_back()
        if self.mail:
            self.wake()

    def give_back(self) -> None:
        self.holder, self.live = None, False
        self.retry_set = self.backing_off = False
