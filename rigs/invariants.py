"""The invariants of the Lua scripts: what must hold of the fleet's keys on Redis at every moment.

Each script changes everything at once, so these hold between any two commands, whatever process has just died. They are
checked on the keys themselves (`rigs.keyspace`), not through the store whose work they judge.

Of one moment, for each VM:

 1. `body` has exactly the ids of `mail`, and `mail` has no id twice: no event without content, no content without one.
 2. Every header in `mail` names this VM and a queue that is in `queues`.
 3. Every event in `mail` has its `seen`, which does not run out and tells no final outcome. A `seen` without an outcome
    has its event in some `mail`: what was accepted is never lost.
 4. A `seen` with a final outcome runs out, and its event is in no `mail`.
 5. A VM whose mail waits and that is not parked is in `due` or in `wakeups` of its head's queue, so that it is never
    forgotten; in no other `due`, and in none without mail.
 6. `parked` has exactly the VMs with the field `parked` or `trial` (parked, and tried again just now): these have mail,
    and the stream said of their head last that it is parked. The former have no owner and no back-off.
 7. `owner` and `until` are there together: there is at most one lease. With mail it has an attempt that began; a VM
    without mail can only be held. A lease that an attempt has is alive until its `due` at the earliest.
 8. A back-off (`retry_at`) has no owner, has an attempt and a reason, and its `due` is not before it.
 9. There are never more deaths than attempts, and without mail there are neither, nor a reason: the next event begins
    anew.
10. What is kept of a VM runs out when nothing waits and it is `gone` or has no state; otherwise never.
11. The stream tells of an event: parked any number of times, then one final outcome, then nothing; and nothing twice.
    The last of it is what `seen` tells, unless an operator retries it.
12. No key is of another kind than those named in `workers.store.mailbox`, and none is of a VM that is no uuid.
13. The messages of a queue that are on their way (`wakeups`, `questions`) have numbers of their own up to `sent`, and
    no number by which lost ones are found is above it.

Of two moments, one after the other:

14. A VM's epoch never falls.
15. `mail` loses nothing but its head and gains nothing but at its end: events keep their order.
16. An event leaves `mail` only with a final outcome on the stream.
17. What is `gone` is not there again; the stream only grows.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator

import redis

from configdrive.model import UUID_PATTERN
from rigs.keyspace import Keyspace, read

_TYPES = {
    "vm": "hash",
    "mail": "list",
    "body": "hash",
    "due": "zset",
    "queues": "set",
    "seen": "string",
    "intents": "set",
    "fleet": "string",
    "left": "zset",
    "away": "zset",
    "away_vms": "zset",
    "orphans": "zset",
    "verify": "zset",
    "queue": "hash",
    "questions": "zset",
    "wakeups": "zset",
    "parked": "zset",
    "outcomes": "stream",
    "operators": "stream",
    "dead": "list",
    "replicated": "string",
    "places": "hash",
    "busy": "string",
    "alone": "string",
    "line": "zset",
    "asked": "zset",
}
_OF_A_VM = frozenset({"vm", "mail", "body"})
_CELERYS = re.compile(r"configdrive\.|celeryev|_kombu\.binding|unacked|celery\.|/0\.")
_UUID = re.compile(UUID_PATTERN)
_FOREVER = -1
_PARKED = "parked"

_Reported = dict[str, list[str]]
"""What the stream says of each event: outcomes as JSON, oldest first."""


class Auditor:
    """Reads the keys behind a prefix again and again; `problems` names what does not hold, `check` fails on it.

    Args:
        client: a connection that may read everything.
        prefix: the store's.
        trimmed: the outcome stream is not whole any more, so nothing follows from what is missing in it.
    """

    def __init__(self, client: redis.Redis, prefix: str, *, trimmed: bool = False) -> None:
        self._client = client
        self._prefix = prefix
        self._trimmed = trimmed
        self._before = Keyspace()

    def check(self) -> Keyspace:
        """Read and judge; returns what was read.

        Raises:
            AssertionError: names every invariant that does not hold.
        """
        now = read(self._client, self._prefix)
        problems = [*problems_of(now, trimmed=self._trimmed), *problems_between(self._before, now)]
        assert not problems, "\n".join(problems)
        self._before = now
        return now


def problems_of(now: Keyspace, *, trimmed: bool = False) -> Iterator[str]:
    """Name what does not hold of one moment."""
    reported = _reported(now)
    due = {uuid: (queue, at) for queue, found in now.named("due").items() for uuid, at in found}
    count = sum(len(found) for found in now.named("due").values())
    if count != len(due):
        yield "5: a VM is due twice"
    yield from _strange_keys(now)
    for uuid in sorted(now.vms() | due.keys()):
        for problem in _Vm(now, uuid, due.get(uuid), reported).problems():
            yield f"VM {uuid}: {problem}"
    parked = {uuid for uuid, _ in now.values.get("parked", ())}
    fields = {uuid for uuid, known in now.named("vm").items() if {"parked", "trial"} & known.keys()}
    if parked != fields:
        yield f"6: parked are {sorted(parked)}, by their fields {sorted(fields)}"
    yield from _events(now, reported, trimmed=trimmed)
    yield from _numbers(now)


def _strange_keys(now: Keyspace) -> Iterator[str]:
    for key, kind in now.types.items():
        first, _, rest = key.partition(":")
        if first not in _TYPES:
            if not _CELERYS.match(key):
                yield f"12: {key} is no key of ours"
        elif kind != _TYPES[first]:
            yield f"12: {key} is a {kind}"
        elif first in _OF_A_VM and not _UUID.fullmatch(rest):
            yield f"12: {key} is of no VM"


def _reported(now: Keyspace) -> _Reported:
    found: _Reported = defaultdict(list)
    for _, entry in now.values.get("outcomes", ()):
        found[entry["event"]].append(entry["outcome"])
    return dict(found)


def _numbers(now: Keyspace) -> Iterator[str]:
    for queue, counts in now.named("queue").items():
        sent = int(counts.get("sent", 0))
        if any(int(counts.get(name, 0)) > sent for name in ("taken", "passed", "before", "lost")):
            yield f"13: queue {queue}: {counts}"
        for kind in ("wakeups", "questions"):
            marks = [number for _, number in now.named(kind).get(queue, ())]
            if any(number > sent for number in marks) or len(set(marks)) != len(marks):
                yield f"13: queue {queue}: {kind} {marks}, {sent} were sent"


def _status(outcome: str) -> str | None:
    return str(json.loads(outcome)["status"]) if outcome else None


def _last(reported: _Reported, event: str) -> str:
    return reported.get(event, [""])[-1]


def _events(now: Keyspace, reported: _Reported, *, trimmed: bool) -> Iterator[str]:
    waiting = {json.loads(header)["key"] for mail in now.named("mail").values() for header in mail}
    for event, outcomes in reported.items():
        statuses = [_status(outcome) for outcome in outcomes]
        final = [status for status in statuses if status != _PARKED]
        if len(final) > 1 or (final and statuses[-1] == _PARKED):
            yield f"11: event {event} came to {statuses}"
        if len(set(outcomes)) != len(outcomes):
            yield f"11: event {event}: an outcome was published twice"
        if final and event in waiting:
            yield f"3: event {event} waits and is {final[0]}"
    for event, seen in now.named("seen").items():
        outcome = "".join(seen.split(" ", 2)[2:])
        if outcome and outcome != _last(reported, event) and not (trimmed and event not in reported):
            yield f"11: event {event}: seen tells another outcome than the stream"
        yield from _of_seen(event, _status(outcome), now.ttls[f"seen:{event}"], waits=event in waiting)


def _of_seen(event: str, status: str | None, ttl: int, *, waits: bool) -> Iterator[str]:
    if waits:
        if ttl != _FOREVER or status not in {None, _PARKED}:
            yield f"3: event {event} waits, its seen says {status} and runs out in {ttl} s"
    elif status in {None, _PARKED}:
        yield f"3: event {event} is lost: it has no outcome and waits nowhere"
    elif ttl == _FOREVER:
        yield f"4: event {event} is {status} and is remembered for ever"


class _Vm:
    """One VM at one moment."""

    def __init__(self, now: Keyspace, uuid: str, due: tuple[str, float] | None, reported: _Reported) -> None:
        self._now = now
        self._due = due
        self._uuid = uuid
        self._reported = reported
        self._known: dict[str, str] = now.named("vm").get(uuid, {})
        self._mail = [json.loads(header) for header in now.named("mail").get(uuid, ())]
        self._ids = [header["key"] for header in self._mail]

    def problems(self) -> Iterator[str]:
        yield from self._of_mail()
        yield from self._of_due()
        yield from self._of_lease()
        yield from self._of_waiting()
        yield from self._of_keeping()

    def _of_mail(self) -> Iterator[str]:
        bodies = self._now.named("body").get(self._uuid, {})
        if sorted(bodies) != sorted(self._ids):
            yield f"1: mail has {self._ids}, body {sorted(bodies)}"
        headers = self._now.named("mail").get(self._uuid, ())
        waiting = sum(len(text.encode()) for text in (*headers, *bodies.values()))
        if int(self._known.get("bytes", 0)) != waiting:
            yield f"14: bytes are {self._known.get('bytes')}, and {waiting} wait"
        seen = self._now.named("seen")
        queues = self._now.values.get("queues", ())
        for header in self._mail:
            if header["vm"] != self._uuid or header["queue"] not in queues:
                yield f"2: a header of {header['vm']} for {header['queue']}"
            if header["key"] not in seen:
                yield f"3: {header['key']} waits and was never seen"

    def _of_due(self) -> Iterator[str]:
        wanted = bool(self._mail) and "parked" not in self._known
        if self._due is not None and not wanted:
            yield f"5: due is {self._due}, {len(self._mail)} wait, parked is {self._known.get('parked')}"
        elif self._due is not None and self._due[0] != self._mail[0]["queue"]:
            yield f"5: due on {self._due[0]}, the head is for {self._mail[0]}"
        elif wanted and self._due is None:
            woken = {uuid for uuid, _ in self._now.named("wakeups").get(self._mail[0]["queue"], ())}
            if self._uuid not in woken:
                yield f"5: neither due nor woken for, {len(self._mail)} wait"

    def _of_lease(self) -> Iterator[str]:
        known = self._known
        if ("owner" in known) != ("until" in known):
            yield "7: half a lease"
        if "owner" not in known:
            return
        if known["owner"].startswith("hold "):
            return
        if not self._mail or int(known.get("attempts", 0)) < 1:
            yield f"7: an attempt at nothing: {known}"
        elif self._due is not None and self._due[1] < float(known["until"]):
            yield f"7: due {float(known['until']) - self._due[1]} ms before the end of the lease"

    def _of_waiting(self) -> Iterator[str]:
        known = self._known
        if "trial" in known:
            if not self._mail or {"parked", "retry_at"} & known.keys():
                yield f"6: tried again, {len(self._mail)} wait: {known}"
            elif _status(_last(self._reported, self._ids[0])) != _PARKED:
                yield f"6: tried again, and {self._ids[0]} was not parked"
        if "parked" in known:
            if not self._mail or {"owner", "retry_at"} & known.keys():
                yield f"6: parked, {len(self._mail)} wait: {known}"
            elif _status(_last(self._reported, self._ids[0])) != _PARKED:
                yield f"6: parked, and {self._ids[0]} was not asked to be"
        if "retry_at" in known:
            if "owner" in known or int(known.get("attempts", 0)) < 1 or not known.get("reason"):
                yield f"8: a back-off with {known}"
            elif self._due is not None and self._due[1] < float(known["retry_at"]):
                yield "8: due before the end of the back-off"

    def _of_keeping(self) -> Iterator[str]:
        known = self._known
        if int(known.get("deaths", 0)) > int(known.get("attempts", 0)):
            yield f"9: {known['deaths']} deaths in {known.get('attempts', 0)} attempts"
        left_over = {"attempts", "deaths", "reason", "retry_at"} & known.keys()
        if left_over and not self._mail:
            yield f"9: nothing waits, and {sorted(left_over)} are left"
        if not known:
            return
        intended = self._uuid in self._now.named("intents")
        kept = bool(self._mail) or intended or ("state" in known and "gone" not in known)
        # A holder that found nothing known may be about to write a state; RELEASE decides.
        if (self._now.ttls[f"vm:{self._uuid}"] == _FOREVER) != kept and "owner" not in known:
            yield f"10: runs out in {self._now.ttls[f'vm:{self._uuid}']} s: {known}"


def problems_between(before: Keyspace, now: Keyspace) -> Iterator[str]:
    """Name what does not hold of two moments."""
    reported = _reported(now)
    for uuid, known in before.named("vm").items():
        after = now.named("vm").get(uuid, {})
        if after and int(after.get("epoch", 0)) < int(known.get("epoch", 0)):
            yield f"14: VM {uuid}: epoch {known['epoch']} fell to {after.get('epoch')}"
        if after and "gone" in known and "gone" not in after:
            yield f"17: VM {uuid} is there again"
    for uuid, mail in before.named("mail").items():
        after = now.named("mail").get(uuid, [])
        left = next((count for count in range(len(mail) + 1) if after[: len(mail) - count] == mail[count:]), 0)
        if left == len(mail) and set(after) & set(mail):
            yield f"15: VM {uuid}: the order of its events changed"
        for header in mail[:left]:
            event = json.loads(header)["key"]
            if _status(_last(reported, event)) in {None, _PARKED}:
                yield f"16: VM {uuid}: event {event} left without a final outcome"
    stream = [position for position, _ in before.values.get("outcomes", ())]
    if [position for position, _ in now.values.get("outcomes", ())][: len(stream)] != stream:
        yield "17: the stream lost something"
