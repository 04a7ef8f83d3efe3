"""One VM as the model of the mailboxes has it (`test_model`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tasks.mailbox import Claim, Header, Held, Wake

if TYPE_CHECKING:
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
    holder: Right | None = None
    live: bool = False
    backing_off: bool = False
    retry_set: bool = False
    overdue: bool = False
    state: str | None = None
    gone: bool = False
    owed: set[str] = field(default_factory=set)
    seen: dict[str, Outcome | None] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    holds: list[Held] = field(default_factory=list)

    @property
    def head(self) -> Header | None:
        return self.mail[0] if self.mail else None

    def next_head(self) -> Wake | None:
        self.attempts = self.deaths = 0
        self.parked = self.overdue = False
        self.give_back()
        return Wake(self.mail[0], 1) if self.mail else None

    def give_back(self) -> None:
        self.holder, self.live = None, False
        self.retry_set = self.backing_off = False
