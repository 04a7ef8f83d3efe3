"""The event store: events go into the mailboxes on Redis, outcomes come from the stream.

Every change is one script, so it happens whole or not at all; each answers the same when asked twice, because a client
that lost the reply asks again. What stands under which key: `workers.store.mailbox`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from configdrive.client import encoding, scripts
from configdrive.client.postings import Posting, Receipt
from configdrive.client.replication import Call, Confirmed
from configdrive.client.settings import ClientSettings
from configdrive.contract.outcome import Outcome
from configdrive.errors import PermanentError
from configdrive.model import EventKey, VmUuid

_POLL_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """Where the keys are, and by how many replicas what counts must be held. `replica_seconds`: how long to try.

    `mailbox_bytes`: what may wait for one VM.
    """

    prefix: str
    replicas: int = 0
    replica_seconds: float = 30.0
    mailbox_bytes: int = 2**27

    @classmethod
    def of(cls, settings: ClientSettings) -> StoreOptions:
        """Take them from the settings."""
        return cls(
            prefix=settings.key_prefix,
            replicas=settings.replicas,
            replica_seconds=settings.replica_seconds,
            mailbox_bytes=settings.mailbox_bytes,
        )


class EventStore:
    """The mailboxes as publishers see them, on one Redis (or the master behind a Sentinel)."""

    def __init__(self, client: redis.Redis, options: StoreOptions) -> None:
        self._redis = client
        self.prefix = options.prefix
        self._mailbox_bytes = options.mailbox_bytes
        self._put = scripts.register(client, "put")
        self._confirmed = Confirmed(
            client, replicas=options.replicas, seconds=options.replica_seconds, mark=self._key("replicated")
        )

    @property
    def client(self) -> redis.Redis:
        """The connections, for what else a process keeps on this Redis."""
        return self._redis

    def close(self) -> None:
        """Close all connections; a later call opens new ones."""
        self._redis.close()

    def put(self, posting: Posting) -> Receipt:
        """Take one event in, once.

        Raises:
            PermanentError: `ID_CONFLICT` or `MAILBOX_FULL`; nothing was stored.
        """
        answer = encoding.receipt(posting, self._confirmed.one(self._put, self._posted(posting)))
        if isinstance(answer, PermanentError):
            raise answer
        return answer

    def put_many(self, postings: Sequence[Posting]) -> list[Receipt | PermanentError]:
        """Take many events in, in order, with one round trip; each is answered as by `put`."""
        answers = self._confirmed.many(self._put, [self._posted(posting) for posting in postings])
        return [encoding.receipt(posting, answer) for posting, answer in zip(postings, answers, strict=True)]

    def outcome_of(self, key: EventKey) -> Outcome | None:
        """Return an event's outcome so far; `None` while it waits or when it is not known (any more)."""
        seen: Any = self._redis.get(self._key("seen", key))
        return encoding.outcome(b"".join((seen or b"").split(b" ", 2)[2:]))

    def outcomes(self, after: str, block_seconds: float) -> Iterator[tuple[str, Outcome | None]]:
        """Follow the outcome stream from a position (`$`: only new ones, `0`: all that are kept).

        Yields each position with its outcome; `None` for what a newer version, or a stranger, has written.
        """
        answer: Any = self._redis.xread(
            {self._key("outcomes"): after}, count=1000, block=max(1, encoding.ms(block_seconds))
        )
        for _stream, entries in answer or ():
            for position, fields in entries:
                yield position.decode(), encoding.outcome(fields.get(b"outcome", b""))

    def outcomes_of(self, wanted: Collection[EventKey], since: str, seconds: float) -> Iterator[Outcome]:
        """Yield the outcome of each wanted event as it comes, for so many seconds at most.

        `since` is a position in the stream (`end_of_outcomes`) from before the events could have had one.
        """
        missing = set(wanted)
        deadline = time.monotonic() + seconds
        while missing and (left := deadline - time.monotonic()) > 0:
            for position, outcome in self.outcomes(since, min(left, _POLL_SECONDS)):
                since = position
                if outcome is not None and (key := outcome.key) in missing:
                    missing.discard(key)
                    yield outcome

    def end_of_outcomes(self) -> str:
        """Return the stream's present end, to follow from without missing what comes between two calls."""
        newest: Any = self._redis.xrevrange(self._key("outcomes"), count=1)
        return newest[0][0].decode() if newest else "0"

    def _posted(self, posting: Posting) -> Call:
        header = posting.header
        keys = [
            *self._vm_keys(header.vm_uuid),
            self._key("seen", header.key),
            *map(self._key, ("queues", "parked")),
        ]
        return keys, [
            *(self.prefix, header.vm_uuid, header.key, encoding.encode(header), posting.body),
            *(header.event_type, header.queue, secrets.token_urlsafe(9), self._mailbox_bytes),
        ]

    def _key(self, kind: str, name: str = "") -> str:
        return f"{self.prefix}{kind}:{name}" if name or kind in {"vm", "due"} else f"{self.prefix}{kind}"

    def _vm_keys(self, uuid: VmUuid) -> list[str]:
        return [self._key("vm", uuid), self._key("mail", uuid), self._key("body", uuid)]
