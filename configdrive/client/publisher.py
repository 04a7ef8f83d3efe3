"""The publisher: takes an event, checks it, seals it, and puts it into its VM's mailbox, which wakes a worker."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from typing_extensions import override

from configdrive.client.connection import connect_redis, refusing_clusters
from configdrive.client.fleet_keys import FleetKeys, FleetSealer
from configdrive.client.hypervisors import known_hypervisors
from configdrive.client.postings import Header, Posting, Receipt, queue_name
from configdrive.client.settings import ClientSettings, read_settings
from configdrive.client.store import EventStore, StoreOptions
from configdrive.contract.event_key import event_key
from configdrive.contract.events import ContentEvent, LifecycleEvent, parse, short_type
from configdrive.contract.outcome import Outcome
from configdrive.contract.sealing import body_of
from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import EventId, EventKey, HypervisorName, VmUuid
from configdrive.ports import Sealer

_BATCH = 500
_BATCH_BYTES = 8 * 2**20
_POLL_SECONDS = 0.25

Event = LifecycleEvent | Mapping[str, Any] | str | bytes
"""An event as a publisher takes it: the model, a plain dict, or its JSON."""


def connect(  # noqa: PLR0913 - a setting each
    *,
    redis_url: str | None = None,
    public_key: str | None = None,
    key_prefix: str | None = None,
    sentinel_password: str | None = None,
    redis_ca: Path | str | None = None,
    redis_certificate: Path | str | None = None,
    redis_certificate_key: Path | str | None = None,
    replicas: int | None = None,
    replica_seconds: float | None = None,
    hypervisors: Collection[str] | None = None,
    zones: Collection[str] | None = None,
) -> Publisher:
    """Return a publisher, which connects to Redis when it is first used.

    What is not given comes from the environment (`CONFIGDRIVE_REDIS_URL` and so on) or the file that
    `CONFIGDRIVE_SETTINGS` names; docs/reference/settings.md has all of them. A worker's file will do.

    Args:
        redis_url: `redis://127.0.0.1:6379/0`; `rediss://` for TLS, `redis+sentinel://one:26379,two:26379/mymaster/0`.
        public_key: the line that `configdrive keys public` prints. Without it, only events that carry no guest data in
            the clear can be published.
        key_prefix: in front of every key of the fleet.
        sentinel_password: the Sentinels' own.
        redis_ca: the authority that has signed Redis' certificate.
        redis_certificate: by which Redis knows us, with `redis_certificate_key`.
        redis_certificate_key: its private key.
        replicas: how many replicas must have an event before `publish` returns.
        replica_seconds: for how many seconds that is tried.
        hypervisors: that some worker serves; events for others are refused. All that are installed, unless given.
        zones: that have queues of their own.

    Raises:
        PermanentError: `MISCONFIGURED`; the detail names the setting, never its value.

    Example:
        >>> from configdrive.client import connect
        >>> with connect(hypervisors=["kvm"]) as publisher:
        ...     publisher
        Publisher(configdrive:)
    """
    given = {name: value for name, value in locals().items() if value is not None}
    settings = read_settings(ClientSettings, **given)
    return Publisher.of(settings, EventStore(connect_redis(settings), StoreOptions.of(settings)))


class Publisher:
    """Publishes lifecycle events, and knows what became of them. May be used by several threads at once.

    When `publish` has returned, the event is stored: its outcome will come, whatever process dies.

    Args:
        store: where events go.
        sealer: seals their guest data.
        hypervisors: the names that some worker serves; an event for another is refused here.
        zones: the zones that have queues of their own.
    """

    def __init__(
        self,
        store: EventStore,
        sealer: Sealer,
        *,
        hypervisors: Collection[HypervisorName],
        zones: Collection[str] = (),
    ) -> None:
        self._store = store
        self._keys = FleetKeys(store.client, store.prefix)
        self._sealer = FleetSealer(sealer, self._keys)
        self._hypervisors = frozenset(hypervisors)
        self._zones = frozenset(zones)

    @classmethod
    def of(cls, settings: ClientSettings, store: EventStore, sealer: Sealer | None = None) -> Publisher:
        """Return a publisher for these settings; it seals with their public key unless a `sealer` is given.

        Raises:
            PermanentError: `MISCONFIGURED`, when the public key is none.
        """
        return cls(
            store,
            sealer or _sealer(settings),
            hypervisors=known_hypervisors(settings),
            zones=settings.zones,
        )

    @override
    def __repr__(self) -> str:
        """Name the fleet by its keys' prefix."""
        return f"{type(self).__name__}({self._store.prefix})"

    def __enter__(self) -> Self:
        """Return the publisher, to be closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._store.close()

    def publish(self, event: Event) -> Receipt:
        """Store one event and wake a worker. One whose source and id are known is not stored again: see the receipt.

        Raises:
            PermanentError: `INVALID_EVENT`, `CONTENT_TOO_LARGE`, `UNKNOWN_HYPERVISOR`, `ID_CONFLICT` when source and id
                are another event's, `MAILBOX_FULL` when too much waits for the VM, `MISCONFIGURED` when there is no
                public key to seal with, or one that is not the fleet's, or `UNSEALABLE` when the event is sealed with
                such a one; nothing was stored.
            redis.RedisError: Redis is away, or full, or too few replicas have the event. It may be stored all the same:
                publish it again under the same id, nothing is doubled.
        """
        with refusing_clusters():
            return self._store.put(self.posting(event))

    def publish_many(
        self,
        events: Iterable[Event],
        *,
        refused: Callable[[int, PermanentError], None] | None = None,
        progress: Callable[[int, Receipt], None] | None = None,
    ) -> list[Receipt]:
        """Store many events, in order, some hundred in a round trip; returns a receipt for each that was stored.

        Args:
            events: taken one after the other, so a generator need not hold them all.
            refused: is called with the index and the error of each bad event, which has no receipt then.
            progress: is called with the index and the receipt of each event once it is stored.

        Raises:
            PermanentError: without `refused`, as `publish`, at the first bad event; those before it are stored. At an
                `ID_CONFLICT` or a `MAILBOX_FULL` some behind it may be, too.
            redis.RedisError: as `publish`; `progress` was called for those that are stored for certain.
        """
        receipts: list[Receipt] = []
        postings = self._valid(events, refused)
        while batch := _batch(postings):
            good = [(index, item) for index, item in batch if isinstance(item, Posting)]
            with refusing_clusters():
                answers = self._store.put_many([posting for _, posting in good])
            errors = [item for _, item in batch if isinstance(item, PermanentError)]
            for (index, _), answer in zip(good, answers, strict=True):
                if isinstance(answer, Receipt):
                    receipts.append(answer)
                    if progress is not None:
                        progress(index, answer)
                elif refused is None:
                    errors.insert(0, answer)
                else:
                    refused(index, answer)
            if errors:
                raise errors[0]
        return receipts

    def wait(self, event: Receipt | Event, timeout: float) -> Outcome | None:
        """Wait for an event's outcome (final, or parked), at most `timeout` seconds; `None` when the time is over.

        Args:
            event: its receipt, or the event; a dict of its `source` and `id` will do.
            timeout: in seconds.

        Raises:
            PermanentError: `INVALID_EVENT`, when source and id are not given: an id alone may be several events'.
            redis.RedisError: Redis is away.
        """
        key = _key_of(event)
        position = self._store.end_of_outcomes()
        outcome = self._store.outcome_of(key)
        if outcome is None:
            outcome = next(self._store.outcomes_of([key], position, timeout), None)
        return outcome or self._store.outcome_of(key)

    def outcomes(self, after: str | None = None, *, timeout: float | None = None) -> Iterator[tuple[str, Outcome]]:
        """Follow the outcomes of all events, each with its position in the stream, to go on from later.

        Args:
            after: the position from which on: one that was yielded before, `0` for all that are kept (about
                `outcomes_kept`), or `None` for those from now on.
            timeout: seconds without any outcome after which the iteration ends; `None`: never.

        Raises:
            redis.RedisError: Redis is away; go on from the last position once it is back.
        """
        return self._follow(self._store.end_of_outcomes() if after is None else after, timeout)

    def _follow(self, position: str, timeout: float | None) -> Iterator[tuple[str, Outcome]]:
        last = time.monotonic()
        while timeout is None or (left := last + timeout - time.monotonic()) > 0:
            pause = _POLL_SECONDS if timeout is None else min(left, _POLL_SECONDS)
            for reached, outcome in self._store.outcomes(position, pause):
                position = reached
                if outcome is not None:
                    yield position, outcome
                    last = time.monotonic()

    def posting(self, event: Event) -> Posting:
        """Check and seal an event, as `publish` does, and store nothing. Redis is asked for the fleet's keys.

        Raises:
            PermanentError: as `publish`.
            redis.RedisError: Redis is away.
        """
        checked = _checked(event)
        data = checked.data
        if data.hypervisor not in self._hypervisors:
            detail = f"data.hypervisor: no driver is called {data.hypervisor!r}"
            remedy = f"known are: {', '.join(sorted(self._hypervisors))}"
            raise PermanentError(PermanentCode.UNKNOWN_HYPERVISOR, detail, remedy)
        if isinstance(checked, ContentEvent) and checked.data.sealed is not None:
            self._keys.require(checked.data.sealed)
        zone = data.zone if data.zone in self._zones else None
        header = Header(
            event_id=EventId(checked.id),
            source=checked.source,
            event_type=short_type(checked.type),
            vm_uuid=VmUuid(data.vm.uuid),
            queue=queue_name(data.hypervisor, zone),
            sequence=data.sequence,
            traceparent=checked.traceparent,
            name=data.vm.instance_name,
        )
        return Posting(header, body_of(checked, self._sealer))

    def _valid(
        self, events: Iterable[Event], refused: Callable[[int, PermanentError], None] | None
    ) -> Iterator[tuple[int, Posting | PermanentError]]:
        for index, event in enumerate(events):
            try:
                yield index, self.posting(event)
            except PermanentError as error:
                if refused is None:
                    yield index, error
                    return
                refused(index, error)


class _NoKey(Sealer):
    """Stands where no public key is known."""

    @override
    def seal(self, plaintext: bytes, context: str) -> str:
        detail = "public_key: is not set, and this event carries guest data that must be sealed"
        remedy = (
            "give the line that `configdrive keys public` prints: connect(public_key=...) or CONFIGDRIVE_PUBLIC_KEY"
        )
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, remedy)

    @override
    def open(self, sealed: str, context: str) -> bytes:
        raise PermanentError(PermanentCode.UNSEALABLE, "this process has no key", "workers open sealed data")


def _sealer(settings: ClientSettings) -> Sealer:
    if settings.public_key is None:
        return _NoKey()
    # Imported here: many processes read the settings, few seal.
    from configdrive.client.public_key import PublicSealer, read_public  # noqa: PLC0415

    return PublicSealer(read_public(settings.public_key))


def _key_of(event: Receipt | Event) -> EventKey:
    match event:
        case Receipt():
            return event.key
        case Mapping():
            source, identity = event.get("source"), event.get("id")
        case str() | bytes():
            source, identity = _named(event)
        case _:
            source, identity = event.source, event.id
    if isinstance(source, str) and isinstance(identity, str):
        return event_key(source, identity)
    raise PermanentError(
        PermanentCode.INVALID_EVENT,
        "event: does not say which event is meant",
        "give the receipt of `publish`, or the event, of which 'source' and 'id' are read",
    )


def _named(text: str | bytes) -> tuple[object, object]:
    """Return source and id of an event's JSON."""
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        return None, None
    return (event.get("source"), event.get("id")) if isinstance(event, dict) else (None, None)


def _checked(event: Event) -> LifecycleEvent:
    match event:
        case str() | bytes():
            return parse(event)
        case Mapping():
            return parse(_dumped(event))
        case _:
            return event


def _dumped(event: Mapping[str, Any]) -> str:
    try:
        return json.dumps(event)
    except (TypeError, ValueError, RecursionError):
        detail = "event: cannot be written as JSON"
    raise PermanentError(PermanentCode.INVALID_EVENT, detail, "give plain dicts, lists, strings, numbers and booleans")


def _batch(items: Iterator[tuple[int, Posting | PermanentError]]) -> list[tuple[int, Posting | PermanentError]]:
    """Take the next batch: at most so many events, and at most so many bytes."""
    batch: list[tuple[int, Posting | PermanentError]] = []
    size = 0
    for index, item in islice(items, _BATCH):
        batch.append((index, item))
        size += len(item.body) if isinstance(item, Posting) else 0
        if size > _BATCH_BYTES:
            break
    return batch
