"""Mailboxes on a real Redis under a prefix of their own, and what their tests do to them past their ports.

The one model of the queue that unit and integration tests share: the real store. Time passes by moving what is stored
into the past.
"""

import atexit
import functools
import itertools
import json
import tempfile
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import redis

from configdrive.client.postings import Header, Posting, Receipt
from configdrive.contract.outcome import Outcome, Status
from configdrive.errors import PermanentError
from configdrive.lifecycle.settled import Settled
from configdrive.lifecycle.state import Leftover as RememberedLeftover
from configdrive.model import EventId, EventKey, VmUuid
from rigs.redis import RedisServer
from tasks.mailbox import Claim, Held, NotNow, Park, Retry, VmView, Wakeup
from tests.support import require_rig
from workers.store.inspection import Inspection
from workers.store.mailbox import MailboxOptions
from workers.store.places import RedisPlaces

QUEUE = "configdrive.simulated"
LEASE = 30.0
RESEND = 15.0
DOUBT = 1000.0  # no machine is so slow that it comes to pass

_AGE = """
for index = 4, #ARGV do
  for _, key in ipairs(redis.call('KEYS', ARGV[1] .. ARGV[index])) do
    local by, member = ARGV[2], ARGV[3]
    if redis.call('TYPE', key).ok == 'hash' then
      for _, name in ipairs({'until', 'retry_at', 'looked'}) do
        if redis.call('HEXISTS', key, name) == 1 then redis.call('HINCRBY', key, name, by) end
      end
    else
      local members = member == '' and redis.call('ZRANGE', key, 0, -1) or {member}
      for _, one in ipairs(members) do redis.call('ZADD', key, 'XX', 'INCR', by, one) end
    end
  end
end
"""
"""Moves what is stored in time under the keys of some patterns; of sets, all members or one."""

_sequence = itertools.count(1)


@functools.cache
def shared_redis() -> redis.Redis:
    """Return a client of a server that lives as long as this test run."""
    with require_rig():
        directory = tempfile.TemporaryDirectory(prefix="cd-redis-")
        server = RedisServer(Path(directory.name), appendonly=False)
    server.start()
    atexit.register(directory.cleanup)
    atexit.register(server.stop)
    return server.client()


def shared_redis_url(database: int) -> str:
    """Return where the same server has a database that is empty."""
    known: Any = shared_redis().connection_pool.connection_kwargs
    url = f"redis://{known['host']}:{known['port']}/{database}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


def new_vm() -> VmUuid:
    return VmUuid(str(uuid.uuid4()))


def posting(
    vm: VmUuid, kind: str = "start", *, queue: str = QUEUE, event_id: str | None = None, source: str = "/tests"
) -> Posting:
    identity = EventId(event_id or uuid.uuid4().hex)
    return Posting(Header(identity, source, kind, vm, queue, next(_sequence)), f"body of {identity}".encode())


def receipts(answers: Iterable[Receipt | PermanentError]) -> list[Receipt]:
    """Return the answers to postings of which none is refused."""
    found = list(answers)
    assert [answer for answer in found if isinstance(answer, PermanentError)] == []
    return [answer for answer in found if isinstance(answer, Receipt)]


def outcome(
    header: Header, status: Status = Status.APPLIED, code: str | None = None, *, attempts: int = 1, at: float = 1.0
) -> Outcome:
    return Outcome(
        header.event_id,
        header.source,
        header.event_type,
        header.vm_uuid,
        header.sequence,
        status,
        at,
        code,
        attempts=attempts,
    )


def finish(claim: Claim, state: str | None = '{"sequence":1}', *, gone: bool = False) -> Settled:
    return Settled(outcome(claim.header, attempts=claim.attempt), state, gone)


def park(claim: Claim, code: str = "unclassified") -> Park:
    return Park(outcome(claim.header, Status.PARKED, code, attempts=claim.attempt))


def again(delay: float) -> Retry:
    return Retry(delay, "host_unreachable")


@dataclass(frozen=True)
class Message:
    """A message in Celery's list."""

    task: str
    task_id: str
    arguments: list[Any]
    queue: str
    text: str

    @property
    def number(self) -> int:
        return int(self.arguments[-1])

    @property
    def wakeup(self) -> Wakeup:
        """What a worker makes of it."""
        return Wakeup(EventKey(self.task_id), VmUuid(self.arguments[1]), self.queue, self.number)

    @property
    def woken(self) -> tuple[str, int]:
        """The event that it names, and which attempt at it."""
        return self.task_id, int(self.arguments[2])


OPTIONS = MailboxOptions(
    prefix="",
    lease=LEASE,
    longest_pause=300.0,
    resend=RESEND,
    seen=3600,
    tombstone=7200,
    outcomes_kept=1000,
    mailbox_bytes=2**27,
)


class Store:
    """A store, with a view past its ports. Times are seconds; `options` are those of `MailboxOptions`."""

    def __init__(self, client: redis.Redis | None = None, **options: Any) -> None:  # noqa: ANN401 - each has its type
        self.client = client or shared_redis()
        self.options = replace(OPTIONS, **{"prefix": f"test-{uuid.uuid4().hex[:8]}:"} | options)
        self.prefix = self.options.prefix
        self.mailbox = self.through(self.client)

    @property
    def places(self) -> RedisPlaces:
        """What the fleet knows of hosts and storages."""
        return RedisPlaces(self.client, self.prefix, DOUBT)

    def through(self, client: redis.Redis) -> Inspection:
        """Return the same store by other connections."""
        return Inspection(client, self.options)

    # --- what publishers and workers do -------------------------------------------------------------------------------

    def put(self, vm: VmUuid, kind: str = "start", *, queue: str = QUEUE) -> Header:
        """Post an event that is accepted; returns its header."""
        item = posting(vm, kind, queue=queue)
        assert self.mailbox.put(item).accepted
        return item.header

    def wakeup(self, header: Header) -> Wakeup:
        """Take the message for a VM out of Celery's list, as a worker does; one without a number when there is none."""
        key = self.prefix + header.queue
        texts: Any = self.client.lrange(key, 0, -1)
        for text in reversed(texts):
            if header.vm_uuid.encode() in text and (message := _message(text)).arguments[1:2] == [header.vm_uuid]:
                self.lose_message(message)
                return message.wakeup
        return Wakeup(header.key, header.vm_uuid, header.queue)

    def claim(self, header: Header) -> Claim:
        """Claim what must be there to be claimed."""
        claim = self.mailbox.claim(self.wakeup(header))
        assert isinstance(claim, Claim), claim
        assert claim.header == header
        return claim

    def end(
        self,
        header: Header,
        state: str | None = '{"sequence":1}',
        *,
        gone: bool = False,
        left: tuple[RememberedLeftover, ...] = (),
    ) -> Claim:
        """Have a worker end an event well; returns the claim that it had."""
        claim = self.claim(header)
        self.mailbox.done(claim, replace(finish(claim, state, gone=gone), left=left))
        return claim

    def hold(self, vm: VmUuid) -> Held:
        """Hold what must be there to be held."""
        held = self.mailbox.hold(vm)
        assert isinstance(held, Held), held
        return held

    def view(self, vm: VmUuid) -> VmView:
        """Return a known VM as operators see it."""
        view = self.mailbox.view(vm)
        assert view is not None
        return view

    def refused(self, header: Header) -> NotNow:
        """Claim what must not be given; says why it was not."""
        answer = self.mailbox.claim(self.wakeup(header))
        assert isinstance(answer, NotNow), answer
        return answer

    def parked(self, vm: VmUuid, kind: str = "start") -> Header:
        """Post an event and park it."""
        header = self.put(vm, kind)
        claim = self.claim(header)
        self.mailbox.done(claim, park(claim))
        return header

    def sent(self, queue: str = QUEUE) -> list[tuple[str, int]]:
        """Say for which events workers are woken, oldest message first, each with its attempt."""
        return [message.woken for message in self.messages(queue)]

    def messages(self, queue: str = QUEUE) -> list[Message]:
        """Return what lies in Celery's list, oldest first."""
        texts: Any = self.client.lrange(self.prefix + queue, 0, -1)
        return [_message(text) for text in reversed(texts)]

    def lose_message(self, message: Message) -> None:
        """Take a message out of Celery's list."""
        self.client.lrem(self.prefix + message.queue, 1, message.text)

    def lose_messages(self, queue: str = QUEUE) -> None:
        """Let a worker die with all messages of a queue."""
        self.client.delete(self.prefix + queue)

    def due_now(self, queue: str = QUEUE) -> list[tuple[str, int]]:
        """Make the look for wake-ups that every worker makes; returns what it sent."""
        return [(sent.header.key, sent.attempt) for sent in self.mailbox.wake_due(queue, 100)]

    # --- time ---------------------------------------------------------------------------------------------------------

    def age(self, vm: VmUuid, seconds: float) -> None:
        """Let time pass for one VM: its lease and its back-off move into the past by so much."""
        self._age(seconds, f"vm:{vm}", "due:*", member=vm)

    def age_queue(self, seconds: float, queue: str = QUEUE) -> None:
        """Let time pass for a queue's look at lost messages."""
        self._age(seconds, f"queue:{queue}")

    def age_places(self, seconds: float, queue: str = QUEUE) -> None:
        """Let time pass for the places for which VMs are parked."""
        self._age(seconds, f"away:{queue}")

    def age_all(self, seconds: float) -> None:
        """Let time pass for all that this store knows."""
        self._age(seconds, "vm:*", "due:*", "queue:*", "left:*", "away:*", "verify:*", "orphans")

    def _age(self, seconds: float, *patterns: str, member: str = "") -> None:
        self.client.eval(_AGE, 0, self.prefix, str(-round(seconds * 1000)), member, *patterns)

    def now(self) -> float:
        """Return the server's time."""
        seconds, micros = self.client.time()
        return float(seconds) + float(micros) / 1e6

    # --- what is stored -----------------------------------------------------------------------------------------------

    def due(self, vm: VmUuid, queue: str = QUEUE) -> float:
        """Return in how many seconds the VM's lease or back-off ends; it must have one."""
        due: Any = self.client.zscore(self.key("due", queue), vm)
        assert due is not None
        return float(due) / 1000 - self.now()

    def field(self, vm: VmUuid, name: str) -> str | None:
        """Return one field of the VM's hash."""
        value: Any = self.client.hget(self.key("vm", vm), name)
        return None if value is None else value.decode()

    def mail(self, vm: VmUuid) -> list[EventKey]:
        """Return the keys in the VM's mailbox, oldest first."""
        view = self.mailbox.view(vm)
        return [] if view is None else [header.key for header in view.mail]

    def bodies(self, vm: VmUuid) -> set[str]:
        """Return the keys of the events whose bodies are kept."""
        names: Any = self.client.hkeys(self.key("body", vm))
        return {name.decode() for name in names}

    def outcomes(self) -> list[Outcome]:
        """Return the whole outcome stream."""
        entries: Any = self.client.xrange(self.key("outcomes"))
        return [Outcome.from_json(fields[b"outcome"]) for _, fields in entries]

    def ttl(self, kind: str, name: str) -> int:
        """Return how many seconds a key still lives; -1 for ever."""
        left: Any = self.client.ttl(self.key(kind, name))
        return int(left)

    def all_keys(self) -> set[str]:
        """Return all keys of this store, without the prefix."""
        return {key.decode().removeprefix(self.prefix) for key in self.client.scan_iter(match=f"{self.prefix}*")}

    def everything(self) -> str:
        """Return all that is stored, to look for secrets in."""
        return repr([self.client.dump(self.prefix + key) for key in sorted(self.all_keys())])

    def key(self, kind: str, name: str | None = None) -> str:
        """Return a key's full name."""
        return self.prefix + (kind if name is None else f"{kind}:{name}")


def _message(text: bytes) -> Message:
    raw = json.loads(text)
    arguments, _, _ = json.loads(raw["body"])
    routed = raw["properties"]["delivery_info"]["routing_key"]
    return Message(raw["headers"]["task"], raw["headers"]["id"], arguments, routed, text.decode())
