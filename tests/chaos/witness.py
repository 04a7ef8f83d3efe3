"""The witness: keeps what a spy could have seen of a storm, so that the judge can look for secrets in it."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis
from typing_extensions import override

from rigs import keyspace
from rigs.fleet import Fleet
from rigs.process import Rig


class Witness(threading.Thread, Rig):
    """Listens to Celery's events (all that Flower knows), and looks at command lines and environments now and then.

    Args:
        events: the file that gets what was published.
    """

    def __init__(self, fleet: Fleet, events: Path) -> None:
        super().__init__(name="witness", daemon=True)
        self._fleet = fleet
        self._events = events
        self._ended = threading.Event()
        self.processes: set[bytes] = set()
        self.keyspace = keyspace.Keyspace()

    @override
    def run(self) -> None:
        """Listen until the end, through every restart of Redis."""
        with self._events.open("ab") as file:
            while not self._ended.is_set():
                try:
                    for message in self._messages():
                        file.write(message + b"\n")
                except redis.RedisError:
                    self._ended.wait(0.1)

    @override
    def stop(self) -> None:
        """End."""
        self._ended.set()
        self.join()

    @property
    def heard(self) -> bytes:
        """All that was published."""
        return self._events.read_bytes()

    def look_at_redis(self) -> None:
        """Keep the whole keyspace as it is now."""
        with self._fleet.redis.client() as client:
            self.keyspace = keyspace.read(client, self._fleet.settings.key_prefix)

    def _messages(self) -> Iterator[bytes]:
        looked = 0.0
        with self._fleet.redis.client() as client, client.pubsub() as channel:
            channel.psubscribe("*")
            while not self._ended.is_set():
                message: Any = channel.get_message(timeout=0.2)
                if message is not None and isinstance(message["data"], bytes):
                    yield message["data"]
                if time.monotonic() > looked + 3:
                    looked = time.monotonic()
                    self._look_at_processes()

    def _look_at_processes(self) -> None:
        mark = f"TMPDIR={self._fleet.directory}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                environment = (process / "environ").read_bytes()
                if mark in environment:
                    self.processes |= {environment, (process / "cmdline").read_bytes()}
            except OSError:  # it has ended, or is another user's
                continue
