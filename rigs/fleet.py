"""A whole fleet on this machine: Redis, keys, inventory and any number of workers, all as processes of their own."""

import json
import threading
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import redis
from celery import Celery
from typing_extensions import override

from configdrive.client.connection import connect_redis
from configdrive.client.encoding import encode
from configdrive.client.postings import Header
from configdrive.client.publisher import Publisher
from configdrive.client.scripts import source
from configdrive.ports import Sealer
from rigs.process import Rig
from rigs.redis import RedisServer
from rigs.worker import Worker
from workers.config.key_ring import make_sealer
from workers.config.keys import Key, read_keys, write_keys
from workers.config.settings import Settings
from workers.queueing.app import make_app
from workers.store.inspection import Inspection
from workers.store.mailbox import MailboxOptions


def keys_in(path: Path) -> tuple[Key, ...]:
    """Return the keys of a file, which is made with one key when it is not there."""
    if not path.exists():
        write_keys(path, [Key.generate()], replace=False)
    return read_keys(path)


class Fleet(Rig):
    """Settings in one place, for the workers (as environment) and for this process (as `settings`).

    Args:
        directory: holds Redis' data, keys, inventory and logs.
        inventory: the inventory's text.
        hypervisor: whose events the workers work on.
        workers: how many are started.
        redis: a server to share, started by the caller; a private one otherwise.
        options: more options of `configdrive worker`.
        settings: fields of `workers.config.settings.Settings` that are not as usual.
    """

    def __init__(  # noqa: PLR0913  # what a fleet consists of
        self,
        directory: Path,
        inventory: str,
        *,
        hypervisor: str = "simulated",
        workers: int = 1,
        redis: RedisServer | None = None,
        options: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.redis = redis or RedisServer(directory / "redis")
        self._owns_redis = redis is None
        path = directory / "inventory.toml"
        path.write_text(inventory, "utf-8")
        fields = {
            "redis_url": self.redis.url,
            "inventory": path,
            "keys_file": directory / "keys.json",
            **(settings or {}),
        }
        self.settings = Settings(**fields)
        self.environment = {f"CONFIGDRIVE_{name.upper()}": _text(value) for name, value in fields.items()}
        self.workers = [
            Worker(directory, f"worker-{number}", self.environment, hypervisor=hypervisor, options=options)
            for number in range(1, workers + 1)
        ]
        self.app: Celery = make_app(self.settings)
        self.mailbox = Inspection(connect_redis(self.settings), MailboxOptions.of(self.settings))
        self._publisher: Publisher | None = None

    @property
    def publisher(self) -> Publisher:
        """A publisher in this process; the first call makes the fleet's keys, unless a worker was first."""
        if self._publisher is None:
            self._publisher = Publisher.of(self.settings, self.mailbox, self._sealer())
        return self._publisher

    def _sealer(self) -> Sealer:
        keys_in(self.settings.keys_file)
        return make_sealer(self.settings)

    @override
    def start(self) -> None:
        """Start all, and wait until the workers take events.

        Raises:
            RigUnavailable: redis-server is not installed.
            RigError: one of them ended at its start, or took too long.
        """
        if self._owns_redis:
            self.redis.start()
        keys_in(self.settings.keys_file)  # no worker makes a first key beside images, and hosts are shared by fleets
        self.start_workers()

    def start_workers(self) -> None:
        """Start all workers at once, those that run are left alone; wait until they take events.

        Raises:
            RigError: as `start`.
        """
        for worker in self.workers:
            if not worker.running:
                worker.launch()
        for worker in self.workers:
            worker.wait_ready()

    def stop_workers(self) -> None:
        """Stop all workers, side by side."""
        for worker in self.workers:
            if worker.running:
                worker.terminate()
        for worker in self.workers:
            worker.stop()

    @override
    def stop(self) -> None:
        """Stop all, in the opposite order; nothing is left running."""
        self.stop_workers()
        self.app.close()
        self.mailbox.close()
        if self._owns_redis:
            self.redis.stop()

    def wake_again(self, header: Header, times: int = 1) -> None:
        """Send a wake-up that the fleet's scripts did not: one that comes late, or doubled."""
        with self.redis.client() as client:
            text = wakeup_text(client, header)
            for _ in range(times):
                client.lpush(f"{self.settings.key_prefix}{header.queue}", text)

    def lose_wakeup(self, header: Header) -> None:
        """Lose the wake-up for a VM, unless a worker was quicker."""
        key = f"{self.settings.key_prefix}{header.queue}"
        with self.redis.client() as client:
            texts: Any = client.lrange(key, 0, -1)
            for text in texts:
                if header.vm_uuid.encode() in text:
                    client.lrem(key, 1, text)

    @property
    def log(self) -> str:
        """All that the workers have written, one worker after the other."""
        return "".join(worker.log for worker in self.workers)


class Supervisor(threading.Thread, Rig):
    """What systemd or Kubernetes is for real workers: one that ends without being asked is started again.

    `ends` are the exit codes of those that ended (negative: killed by that signal).
    """

    def __init__(self, workers: Sequence[Worker]) -> None:
        super().__init__(name="supervisor", daemon=True)
        self._workers = workers
        self._ended = threading.Event()
        self.ends: list[int | None] = []

    @override
    def run(self) -> None:
        """Look every 20 ms."""
        while not self._ended.wait(0.02):
            for worker in self._workers:
                if not worker.running:
                    self.ends.append(worker.exit_code)
                    worker.launch()

    @override
    def stop(self) -> None:
        """End; the workers go on."""
        self._ended.set()
        self.join()


def wakeup_text(client: redis.Redis, header: Header) -> bytes:
    """Return a wake-up as the scripts push it, numbered 1."""
    script = source("common") + "wake(ARGV[1], ARGV[2], cjson.decode(ARGV[3]), 1) return redis.call('LPOP', ARGV[4])"
    prefix = f"scratch-{uuid.uuid4().hex}:"
    text: Any = client.eval(script, 0, prefix, header.vm_uuid, encode(header), f"{prefix}{header.queue}")
    client.delete(f"{prefix}queue:{header.queue}", f"{prefix}wakeups:{header.queue}")
    return bytes(text)


def _text(value: object) -> str:
    return json.dumps(value) if isinstance(value, list | tuple | dict) else str(value)
