"""The breaker: lets a plan's troubles happen at their times, and lets each pass; says what it did to whom."""

import contextlib
import heapq
import itertools
import os
import random
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import redis
from typing_extensions import override

from configdrive.model import Place
from rigs.fleet import Fleet
from rigs.process import Daemon, cache_directory, find_program
from rigs.simulated.world import LivelyWorld
from rigs.worker import Worker
from tests.chaos.plan import HOSTS, POOL, Kind, Trouble

BALLAST: Final = "ballast"
"""The file that fills a storage."""

CLOCK: Final = "clock"
"""In a worker's temporary folder: by how many seconds its clock is wrong."""

_REDIS = frozenset({Kind.REDIS_RESTART, Kind.REDIS_KILL, Kind.REDIS_PAUSE, Kind.REDIS_FULL})
_QUEUE = frozenset({Kind.LOSE_WAKE_UPS, Kind.OLD_WAKE_UPS, Kind.REDIS_CUT})


@dataclass(frozen=True, slots=True)
class Freeze:
    """Processes that stood still; times are nanoseconds of the monotonic clock."""

    pids: tuple[int, ...]
    since: int
    until: int


@dataclass
class Chronicle:
    """What was done to whom, a line each; who stood still when; and the processes that swept storages."""

    path: Path
    freezes: list[Freeze] = field(default_factory=list)
    counts: dict[Kind, int] = field(default_factory=dict)
    sweeps: set[int] = field(default_factory=set)

    def write(self, what: str) -> None:
        """Add a line; the first number is the tick of the audit log."""
        with self.path.open("a") as file:
            file.write(f"{time.monotonic_ns()} {what}\n")


class Breaker(threading.Thread):
    """Works through the troubles; at its end everything is whole again.

    Args:
        sweeper: the process that sweeps storages.
        again: is called when old wake-ups shall come again.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # all that can be broken
        self,
        fleet: Fleet,
        sweeper: Daemon,
        world: LivelyWorld,
        troubles: tuple[Trouble, ...],
        chronicle: Chronicle,
        again: Callable[[], None],
    ) -> None:
        super().__init__(name="breaker", daemon=True)
        self._fleet = fleet
        self._sweeper = sweeper
        self._world = world
        self._chronicle = chronicle
        self._again = again
        self._order = itertools.count()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._healing: list[Callable[[], None]] = []
        self._redis_busy = False
        self._ended = threading.Event()
        self.error: BaseException | None = None
        for trouble in troubles:
            self._plan(trouble.at, partial(self._begin, trouble))

    @override
    def run(self) -> None:
        """Do what is on the agenda, each at its time."""
        began = time.monotonic()
        try:
            while self._agenda and not self._ended.is_set():
                at, _, deed = self._agenda[0]
                if self._ended.wait(max(0.0, began + at - time.monotonic())):
                    break
                heapq.heappop(self._agenda)
                self._now = at
                deed()
        except BaseException as error:  # noqa: BLE001  # handed to the storm
            self.error = error
        finally:
            for heal in list(self._healing):
                heal()

    def end(self) -> None:
        """Stop breaking, heal everything."""
        self._ended.set()
        self.join()

    def _plan(self, at: float, deed: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (at, next(self._order), deed))

    def _lasting(self, seconds: float, heal: Callable[[], None]) -> None:
        """Have something healed after a while, or at the end."""

        def once() -> None:
            if once in self._healing:
                self._healing.remove(once)
                heal()

        self._healing.append(once)
        self._plan(self._now + seconds, once)

    def _begin(self, trouble: Trouble) -> None:
        kind = trouble.kind
        if self._redis_busy and kind in _REDIS | _QUEUE:
            return
        self._chronicle.counts[kind] = self._chronicle.counts.get(kind, 0) + 1
        worker = self._worker(trouble)
        self._chronicle.write(f"{kind.name} {worker.name} {worker.pid} {trouble.who} {trouble.seconds:.2f}")
        match kind:
            case Kind.STOP_CHILD | Kind.STOP_ALL | Kind.STOP_SWEEP:
                self._freeze(self._still(trouble), trouble.seconds)
            case Kind.REDIS_RESTART | Kind.REDIS_KILL | Kind.REDIS_PAUSE | Kind.REDIS_FULL:
                self._break_redis(kind, trouble.seconds)
            case Kind.LOSE_WAKE_UPS | Kind.OLD_WAKE_UPS | Kind.REDIS_CUT:
                self._disturb_queue(kind)
            case Kind.HOST_AWAY | Kind.STORAGE_AWAY | Kind.STORAGE_FULL:
                self._break_cloud(kind, trouble)
            case Kind.CLOCK:
                set_clock(worker, trouble.seconds)
            case _:
                self._end_processes(kind, worker, trouble.who)

    def _worker(self, trouble: Trouble) -> Worker:
        return self._fleet.workers[trouble.who % len(self._fleet.workers)]

    def _still(self, trouble: Trouble) -> list[int]:
        """Return the processes that are to stand still."""
        if trouble.kind is Kind.STOP_SWEEP:
            return [self._sweeper.pid]
        worker = self._worker(trouble)
        children = worker.children()
        if trouble.kind is Kind.STOP_ALL or not children:
            return [worker.pid, *children]
        return [children[trouble.who % len(children)]]

    def _break_cloud(self, kind: Kind, trouble: Trouble) -> None:
        match kind:
            case Kind.HOST_AWAY:
                host = HOSTS[trouble.who % len(HOSTS)]
                self._world.set_host_up(host, up=False)
                self._lasting(trouble.seconds, lambda: self._world.set_host_up(host, up=True))
            case Kind.STORAGE_AWAY:
                self._world.set_storage_up(Place(POOL), up=False)
                self._lasting(trouble.seconds, lambda: self._world.set_storage_up(Place(POOL), up=True))
            case _:
                self._fill_storage(trouble.seconds)

    def _end_processes(self, kind: Kind, worker: Worker, who: int) -> None:
        children = worker.children()
        match kind:
            case Kind.TERM_MAIN:
                worker.terminate()
            case Kind.KILL_MAIN:
                worker.kill()
            case Kind.KILL_ALL:
                worker.kill()
                for pid in children:
                    _signal(pid, signal.SIGKILL)
            case Kind.KILL_SWEEP:
                self._sweeper.kill()
                self._sweeper.start()
                self._chronicle.sweeps.add(self._sweeper.pid)
            case _:
                number = signal.SIGKILL if kind is Kind.KILL_CHILD else signal.SIGSEGV
                for pid in children[who % len(children) :][:1] if children else ():
                    _signal(pid, number)

    def _freeze(self, pids: list[int], seconds: float) -> None:
        since = time.monotonic_ns()
        for pid in pids:
            _signal(pid, signal.SIGSTOP)

        def thaw() -> None:
            self._chronicle.freezes.append(Freeze(tuple(pids), since, time.monotonic_ns()))
            for pid in pids:
                _signal(pid, signal.SIGCONT)

        self._lasting(seconds, thaw)

    def _break_redis(self, kind: Kind, seconds: float) -> None:
        server = self._fleet.redis
        self._redis_busy = True

        def whole() -> None:
            match kind:
                case Kind.REDIS_KILL:
                    server.start()
                case Kind.REDIS_PAUSE:
                    server.resume()
                case Kind.REDIS_FULL:
                    self._limit_redis(0)
                case _:
                    pass
            self._redis_busy = False
            self._chronicle.write("Redis is whole")

        match kind:
            case Kind.REDIS_RESTART:
                server.restart()
            case Kind.REDIS_KILL:
                server.kill()
            case Kind.REDIS_PAUSE:
                server.pause()
            case _:
                self._limit_redis(1)
        self._lasting(seconds, whole)

    def _limit_redis(self, most: int) -> None:
        with self._fleet.redis.client() as client:
            client.config_set("maxmemory", most)

    def _fill_storage(self, seconds: float) -> None:
        """Leave the shared storage no room, for files as they are and for the driver that adds up."""
        storage = self._world.topology.storage(HOSTS[0], POOL)
        assert storage.capacity is not None
        ballast = storage.folder / BALLAST
        with ballast.open("wb") as file:
            file.truncate(storage.capacity)
        self._lasting(seconds, lambda: ballast.unlink(missing_ok=True))

    def _disturb_queue(self, kind: Kind) -> None:
        """Break what is between Redis and the others, or take some messages, or have old ones sent again."""
        if kind is Kind.OLD_WAKE_UPS:
            self._again()
            return
        queue = f"{self._fleet.settings.key_prefix}configdrive.simulated"
        with contextlib.suppress(redis.RedisError), self._fleet.redis.client() as client:
            if kind is Kind.REDIS_CUT:
                client.client_kill_filter(_type="normal", skipme=True)
            else:
                client.rpop(queue, random.randint(1, 5))  # noqa: S311  # how many there are is chance anyway


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def wrong_clock() -> Path:
    """Build the clock that jumps, once for this checkout.

    Raises:
        RigUnavailable: there is no C compiler.
    """
    source = Path(__file__).with_name("clock.c")
    built = cache_directory("chaos") / "clock.so"
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        part = built.with_suffix(f".{time.time_ns()}")
        subprocess.run([find_program("cc", "gcc"), "-shared", "-fPIC", "-O2", "-o", part, source], check=True)
        part.rename(built)
    return built


def set_clock(worker: Worker, seconds: float) -> None:
    """Let a worker's clock be wrong by so many seconds from now on."""
    path = worker.temporary / CLOCK
    if not path.exists():
        path.write_bytes(bytes(8))
    with path.open("r+b") as file:
        file.write(struct.pack("=q", int(seconds)))
