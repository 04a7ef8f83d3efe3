"""The fleet and its peers side by side: one Redis, the same pool and concurrency, and ways to load and to time them.

Every figure of a contender is taken in turn with the others', batch by batch, so that a machine that has other things
to do slows all of them alike.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from kombu import Queue

from benchmarks import peers, samples
from rigs.cloud import key_of
from rigs.fleet import Fleet
from rigs.process import Daemon, wait_until
from rigs.redis import RedisServer

if TYPE_CHECKING:
    from types import TracebackType

    from configdrive.contract.outcome import Outcome

Event = dict[str, Any]

AS_DEPLOYED = {"hash-max-listpack-value": "2048"}
"""Of `deploy/redis/redis.conf`, what is not Redis' default and bears on any figure."""

PATIENCE = 120.0
"""Seconds after which a benchmark is given up."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One of those that are measured: its name, how events are handed to it, the stream on which it tells of each."""

    name: str
    send: Callable[[Sequence[Event]], None]
    stream: str


class Arena:
    """A fleet with one worker, and a worker with the peers' tasks, by the same settings.

    Args:
        directory: for all that they write.
        pool, concurrency: of both workers.
        alone: without the peers' worker.
        settings: fields of `workers.config.settings.Settings` that are not as usual.
    """

    def __init__(
        self, directory: Path, *, pool: str = "prefork", concurrency: int = 4, alone: bool = False, **settings: object
    ) -> None:
        self._alone = alone
        common = {"pool": pool, "concurrency": concurrency, **settings}
        self._world = tempfile.TemporaryDirectory(prefix="cd-world-", dir=samples.memory())
        self._server = RedisServer(directory / "redis", more=AS_DEPLOYED)
        self.fleet = Fleet(directory, samples.inventory(Path(self._world.name)), redis=self._server, settings=common)
        self._peers = Daemon(
            [sys.executable, "-m", "benchmarks.peers", pool, str(concurrency)],
            directory / "peers.log",
            self.fleet.environment,
        )
        prefix = self.fleet.settings.key_prefix
        stream = f"{prefix}{peers.RUNS}"
        self.ours = Contender("the fleet", self._publish, f"{prefix}outcomes")
        self.noop = Contender("a no-op Celery task", lambda events: self._send(peers.NOOP, events), stream)
        self.tell = Contender("a Celery task that only reports", lambda events: self._send(peers.TELL, events), stream)
        self.naive = Contender("the naive task", lambda events: self._send(peers.NAIVE, events), stream)
        self.redis = self.fleet.redis.client()

    def __enter__(self) -> Self:
        """Start all."""
        self._server.start()
        try:
            if not self._alone:
                self._peers.start()
            self.fleet.start()
            if not self._alone:
                self._peers.wait_ready(lambda: " ready." in self._peers.log.read_text(), timeout=30)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all."""
        self._peers.stop()
        self.redis.close()
        self.fleet.stop()
        self._server.stop()
        self._world.cleanup()

    def drain(self, contender: Contender, events: Sequence[Event]) -> float:
        """Hand over events while the workers stand still, then let them go; return seconds per event.

        The time is Redis' own, between the first and the last event that was reported: neither publishing nor the
        workers' start is in it. Peers that tell nothing are framed by two that do.
        """
        position = self._end(contender.stream)
        wanted = len(events)
        with self.held():
            if contender is self.noop:
                wanted = 2
                self.tell.send([_named("first")])
                contender.send(events)
                self.tell.send([_named("last")])
            else:
                contender.send(events)
        ids = self._await(contender.stream, position, wanted)
        return (ids[-1] - ids[0]) / 1000 / (len(events) + 1 if contender is self.noop else len(events) - 1)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let the workers' main processes stand still within the block."""
        pids = [worker.pid for worker in self.fleet.workers] + ([] if self._alone else [self._peers.pid])
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def settle(self) -> None:
        """Wait until nothing waits or is in work."""
        for contender in (self.tell, self.ours):
            self.one_by_one(contender, [samples.SampleVm(0).event("deploy")])
        wait_until(
            lambda: not any(self.fleet.mailbox.pending().values()), "the fleet to have done all", timeout=PATIENCE
        )

    def one_by_one(self, contender: Contender, events: Sequence[Event]) -> list[float]:
        """Hand over each event when the one before has ended; return each one's seconds until its end."""
        seconds = []
        for event in events:
            position = self._end(contender.stream)
            began = time.perf_counter()
            contender.send([event])
            self._await(contender.stream, position, 1)
            seconds.append(time.perf_counter() - began)
        return seconds

    def require_applied(self, events: Sequence[Event]) -> None:
        """Make sure that the fleet did what it was measured for."""
        for event in events:
            outcome: Outcome | None = self.fleet.mailbox.outcome_of(key_of(event))
            if outcome is None or outcome.status != "applied":
                raise RuntimeError(f"the measured event came to {outcome}")

    def _publish(self, events: Sequence[Event]) -> None:
        if len(events) == 1:
            self.fleet.publisher.publish(events[0])
        else:
            self.fleet.publisher.publish_many(events)

    def _send(self, task: str, events: Sequence[Event]) -> None:
        app = self.fleet.app
        with app.producer_pool.acquire(block=True) as producer, producer.batch(100):  # type: ignore[attr-defined]
            for event in events:
                # What a wake-up carries; the naive design sends all there is.
                arguments = (json.dumps(event),) if task == peers.NAIVE else (event["type"], event["id"], 1)
                app.send_task(
                    task,
                    args=arguments,
                    task_id=event["id"],
                    queue=Queue(peers.QUEUE, routing_key=peers.QUEUE),  # type: ignore[arg-type]  # a Queue is taken too
                    producer=producer,
                    ignore_result=True,
                )

    def _end(self, stream: str) -> str:
        newest: Any = self.redis.xrevrange(stream, count=1)
        return newest[0][0].decode() if newest else "0"

    def _await(self, stream: str, position: str, wanted: int) -> list[int]:
        """Wait for so many entries on a stream; return their times in milliseconds."""
        found: list[int] = []
        deadline = time.monotonic() + PATIENCE
        while len(found) < wanted:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(found)} of {wanted} events were reported on {stream}")
            answer: Any = self.redis.xread({stream: position}, block=1000)
            for _stream, entries in answer or ():
                found += [int(entry.partition(b"-")[0]) for entry, _fields in entries]
                position = entries[-1][0].decode()
        return found


def _named(word: str) -> Event:
    return {"id": f"{word}-{time.monotonic_ns()}", "type": word}
