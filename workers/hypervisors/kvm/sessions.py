"""Connections to a host's libvirtd, never waited for without end: opened when needed, kept, limited, counted.

A call into libvirt is C code that no Python exception can interrupt. So each connection has one thread of its own that
makes the calls, and the caller waits for the answer up to a limit. A connection that has not answered in time is given
up: its thread closes it when the call comes back, and nothing else is done on it. Three guards stand one behind the
other: libvirt's keepalive breaks a dead link, this limit ends the wait for a libvirtd that hangs, and the worker pool's
task time limit ends everything else.

Keepalive needs libvirt's event loop: one daemon thread per process. libvirt takes an event loop once per process and
hands it down through fork with all that is registered in it. A child of a process that had used libvirt must not run
that loop: it would read its parent's sockets. Such a child goes without keepalive; the limit on every call still
holds. Celery's workers fork before they connect.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from concurrent.futures import Future
from functools import partial, wraps
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

import libvirt

from configdrive.errors import TransientCode, TransientError
from workers.driverkit import connections
from workers.driverkit.cache import Cache
from workers.driverkit.connections import Limit, Tally
from workers.hypervisors.kvm.faults import is_of_link, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import PurePosixPath

    from configdrive.model import HostName, ImageName, VmUuid
    from workers.hypervisors.kvm.domain_xml import Source
    from workers.hypervisors.kvm.records import Capabilities, Pool, Volume

P = ParamSpec("P")
R = TypeVar("R")

KEEPALIVE_COUNT: Final = 3
"""Unanswered keepalives after which libvirt gives a connection up."""

DOMAIN_SECONDS: Final = 40.0
"""Limit on a call that changes a domain: libvirt waits up to 30 s for another job on it, then 5 s for the guest."""

OPEN_SECONDS: Final = 10.0
"""Limit on opening a connection: a host that is switched off answers nothing, not even a refusal."""

UNTESTED_SECONDS: Final = 1.0
"""A kept connection that rested longer than this is tried before it is used again."""

EVENT_SECONDS: Final = 10.0
"""How long what was seen is believed by the next steps of the same event."""

MEDIA_SECONDS: Final = 2.0
"""How long one look at what all VMs of a host have in their drives serves the storage sweep."""

LISTED_SECONDS: Final = 60.0
"""How long libvirt is believed on what lies in a folder that only this host sees: it lists it anew at every upload."""

SILENT_SECONDS: Final = 2.0
REST_SECONDS: Final = 15.0
"""A host that let an opening wait for longer than the first is not asked again for the second: when a host fails, each
of its VMs wants something of it, and each would wait again."""


ANY_POOL: Final = "one of its storage pools"
"""What hangs when libvirt cannot list its pools, or find one by its directory: it looks at one after the other, and
waits for each that somebody has under his hands."""


class LinkBrokenError(TransientError):
    """The connection broke under a call: what only looks may look again at once, on a new one."""


class Looked:
    """What all connections of a process to one host have seen of its storages, whichever of them looked.

    `names` are pools by their directories, and `stuck` is what calls are in that have not come back.
    """

    def __init__(self) -> None:
        self.names: Cache[PurePosixPath, str] = Cache()
        self.stuck: dict[str, Future[None]] = {}
        self.private: Cache[PurePosixPath, bool] = Cache(LISTED_SECONDS)
        self.listed: Cache[PurePosixPath, bool] = Cache(LISTED_SECONDS)


class Known:
    """What a connection was just given by libvirt: handles, and facts that hold for the length of an event.

    libvirt finds by uuid what a handle means, however old it is; of what is no more it says so.
    """

    def __init__(self, looked: Looked) -> None:
        self.vms: Cache[str, libvirt.virDomain] = Cache()
        self.flags: Cache[str, bool] = Cache(EVENT_SECONDS)
        self.pools: Cache[str, Pool] = Cache(EVENT_SECONDS)
        self.pools_at: Cache[PurePosixPath, Pool] = Cache(EVENT_SECONDS)
        self.pool_definitions: Cache[str, Pool] = Cache(LISTED_SECONDS)
        self.folders: Cache[PurePosixPath, libvirt.virStoragePool] = Cache()
        self.files: Cache[PurePosixPath, Volume] = Cache(EVENT_SECONDS)
        self.capabilities: Cache[HostName, Capabilities] = Cache()
        self.real: Cache[PurePosixPath, PurePosixPath] = Cache(LISTED_SECONDS)
        self.nameless: Cache[PurePosixPath, bool] = Cache(EVENT_SECONDS)
        self.private, self.listed = looked.private, looked.listed
        self.held: Cache[VmUuid, frozenset[ImageName]] = Cache(EVENT_SECONDS)
        self.media: Cache[str, tuple[tuple[str, Source], ...]] = Cache(MEDIA_SECONDS)
        self.trays: Cache[tuple[VmUuid, str], bool] = Cache()

    def begin(self) -> None:
        """Drop what holds for the length of an event: another one begins, with a look of its own."""
        for cache in (self.flags, self.pools, self.pools_at, self.files, self.nameless, self.held):
            cache.clear()

    def change(self, vm: VmUuid) -> None:
        """Drop what is known of drives: those of a VM are about to be changed."""
        self.held.forget(vm)
        self.media.clear()

    def clear(self) -> None:
        """Drop all: a connection is closed only when nobody has anything that came over it."""
        for cache in vars(self).values():
            cache.clear()


class Link:
    """One connection to one host's libvirtd, and the thread that talks through it.

    Args:
        host: for the messages.
        uri: libvirt's.
        timeout: seconds to wait for an answer.
        looked: what other connections to the host know of it already.
    """

    def __init__(self, host: HostName, uri: str, timeout: float, looked: Looked | None = None) -> None:
        self.host = host
        self.looked = looked or Looked()
        self.known = Known(self.looked)
        self._uri = uri
        self._timeout = timeout
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._connection: libvirt.virConnect | None = None
        self._usable = True
        self._rested_since = time.monotonic()

    @property
    def connection(self) -> libvirt.virConnect:
        """The libvirt connection; its methods are to be called through `call`."""
        assert self._connection is not None  # noqa: S101  # opened before anyone has it
        return self._connection

    def open(self) -> None:
        """Connect, and ask for keepalives.

        Raises:
            FleetError: `HOST_UNREACHABLE`, `ACCESS_DENIED`.
        """
        keepalive = _run_event_loop()
        threading.Thread(target=self._serve, name=f"libvirt-{self.host}", daemon=True).start()
        with translated(f"host {self.host}"):
            self._wait(min(self._timeout, OPEN_SECONDS), partial(self._open, keepalive=keepalive))

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Make one call on this connection's thread and wait for it.

        Raises:
            TransientError: `HOST_UNREACHABLE` when the answer did not come in time; the link is of no more use.
            libvirt.libvirtError: what the call raised.
        """
        return self._wait(self._timeout, partial(function, *args, **kwargs))

    def call_into(self, what: str, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Make one call into something that may hang on the host by itself, such as a file system.

        A call that hangs there keeps one of libvirtd's threads, of which there are few, until the file system answers,
        however soon the caller gives it up. So there is one of this process: as long as it has not come back, nobody
        calls again.

        `what` it is, is for the messages, and to know it by.

        Raises:
            TransientError: `STORAGE_UNAVAILABLE`: it hangs; a `LinkBrokenError` from the one who found out. And as
                `call`.
            libvirt.libvirtError: what the call raised.
        """
        if self.hangs(what):
            raise TransientError(TransientCode.STORAGE_UNAVAILABLE, *self._hanging(what))
        begun, back = threading.Event(), Future[None]()

        @wraps(function)
        def into() -> R:
            begun.set()
            try:
                return function(*args, **kwargs)
            finally:
                back.set_result(None)

        try:
            return self.call(into)
        except BaseException as error:
            if begun.is_set() and not back.done():
                self.looked.stuck[what] = back
                if isinstance(error, TransientError):
                    raise LinkBrokenError(TransientCode.STORAGE_UNAVAILABLE, *self._hanging(what)) from None
            raise

    def hangs(self, what: str | None = None) -> bool:
        """Say whether a call of this process into something, or into anything, has not come back."""
        stuck = self.looked.stuck
        for one, back in list(stuck.items()):
            if back.done():
                stuck.pop(one, None)
        return bool(stuck) if what is None else what in stuck

    def _hanging(self, what: str) -> tuple[str, str]:
        detail = f"host {self.host}: {what} hangs: a call of libvirt's into it has not come back"
        return detail, "see what is wrong with that file system on the host, such as its server; all goes on by itself"

    def change(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Make one call that changes a domain, for which libvirt itself may wait: see `DOMAIN_SECONDS`.

        Raises:
            TransientError: as `call`.
            libvirt.libvirtError: what the call raised.
        """
        return self._wait(max(self._timeout, DOMAIN_SECONDS), partial(function, *args, **kwargs))

    def _wait(self, limit: float, function: Callable[[], R]) -> R:
        if not self._usable:
            detail = f"host {self.host}: the connection was given up"
            raise TransientError(TransientCode.HOST_UNREACHABLE, detail, "see whether libvirtd hangs there")
        answer: Future[R] = Future()
        self._jobs.put(partial(_answer, answer, function))
        try:
            return answer.result(limit)
        except TimeoutError:
            self.abandon()
            detail = f"host {self.host}: libvirt has not answered within {limit:g} s"
            raise TransientError(TransientCode.HOST_UNREACHABLE, detail, "see whether libvirtd hangs there") from None
        except libvirt.libvirtError as error:
            if self._is_lost_behind(error):
                self.abandon()
                detail = f"host {self.host}: {error.get_error_message()}"
                remedy = "see whether virtstoraged and virtqemud run there"
                raise LinkBrokenError(TransientCode.HOST_UNREACHABLE, detail, remedy) from error
            raise
        except BaseException:  # a soft time limit: what the call is doing now nobody knows
            self.abandon()
            raise

    def _is_lost_behind(self, error: libvirt.libvirtError) -> bool:
        """Whether the other end has lost its own link to another daemon, which it never opens again for this one.

        libvirt's daemons may be one or many (virtqemud, virtstoraged); any of them may be started anew.
        """
        if self._connection is None or not is_of_link(error):
            return False
        return not self.is_broken()

    def fresh(self, *, tried: bool) -> bool:
        """Say whether the connection still works, as far as is known; tries it when it has rested for a while."""
        if not self._usable or self._connection is None:
            return False
        try:
            if not self._connection.isAlive():  # asks nobody, so it needs no thread of its own
                return False
            if tried and self.rested > UNTESTED_SECONDS:
                self.call(self._connection.getLibVersion)
        except (libvirt.libvirtError, TransientError):
            return False
        return self._usable

    def is_broken(self) -> bool:
        """Say whether libvirt itself knows that the connection is no more."""
        if not self._usable or self._connection is None:
            return False
        try:
            return not self._connection.isAlive()
        except libvirt.libvirtError:
            return True

    @property
    def is_given_up(self) -> bool:
        """Whether it is of no more use, though nobody has seen it break."""
        return not self._usable

    def require_alive(self, error: object) -> None:
        """Return when the connection still is of use, and the error so was about something else.

        Raises:
            LinkBrokenError: it is not.
        """
        if not self._usable or self.is_broken():
            detail = f"host {self.host}: {error}"
            raise LinkBrokenError(TransientCode.HOST_UNREACHABLE, detail, "see whether libvirtd runs there")

    @property
    def rested(self) -> float:
        """Seconds for which nobody has used it."""
        return time.monotonic() - self._rested_since

    def rest(self) -> bool:
        """Note that nobody uses it now; say whether it may be kept."""
        self._rested_since = time.monotonic()
        return self._usable

    def abandon(self) -> None:
        """Give the connection up without waiting: its thread closes it as soon as it is free."""
        self._usable = False
        self.known.clear()
        self._jobs.put(None)

    def disown(self) -> None:
        """Forget, in a forked child, what belongs to the parent: closing it here would close it there."""
        if self._connection is not None:
            self._connection._o = None  # noqa: SLF001  # the binding has no other way to keep its destructor quiet

    def _open(self, *, keepalive: bool) -> None:
        connection = libvirt.open(self._uri)
        if keepalive:
            interval = max(1, min(5, int(self._timeout / (KEEPALIVE_COUNT + 2))))
            # Nothing tells a libvirtd apart that knows no keepalive; the limit on every call remains.
            with contextlib.suppress(libvirt.libvirtError):
                connection.setKeepAlive(interval, KEEPALIVE_COUNT)
        self._connection = connection

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
        if self._connection is not None:
            with contextlib.suppress(libvirt.libvirtError):
                self._connection.close()


class HostLinks:
    """The connections of this process to one host: `limit` at most, so that a boot storm does not sink its libvirtd."""

    def __init__(self, host: HostName, uri: str, timeout: float, limit: int) -> None:
        self.tally = Tally(host, "libvirt")
        self._host = host
        self._uri = uri
        self._timeout = timeout
        self._limit = limit
        self._looked = Looked()
        self._state = _State(host, limit)
        self._inherited: _State | None = None

    @contextlib.contextmanager
    def borrow(self, *, tried: bool = True) -> Iterator[Link]:
        """Give a working connection for a while.

        Args:
            tried: see first whether one that has rested still works; not for who only looks, and then looks again.

        Raises:
            FleetError: `HOST_UNREACHABLE`, `ACCESS_DENIED`; `SATURATED` when all were busy for too long, `DEFERRED`
                when the host was silent a moment ago.
            LinkBrokenError: libvirtd ended, or was started anew, while the connection was in use.
        """
        state = self._own_state()
        if self.tally.now.open == 0:  # otherwise it speaks to somebody
            state.require_speaking(self._host)
        with state.limit.one(self._timeout):
            link = self._take(state, tried=tried)
            try:
                yield link
            except libvirt.libvirtError as error:
                if not link.is_broken():
                    raise
                detail = f"host {self._host}: {error.get_error_message()}"
                remedy = "see whether libvirtd runs there"
                for other in state.drain():  # they ended with the same libvirtd
                    other.abandon()
                    self.tally.lost()
                raise LinkBrokenError(TransientCode.HOST_UNREACHABLE, detail, remedy) from error
            finally:
                if not state.give_back(link):
                    self.tally.lost()
                state.close_idle(self._close_idle)

    def close(self) -> None:
        """Close what is not in use now."""
        self._close(self._own_state().drain())

    def _close_idle(self) -> None:
        """Close what nobody has used for a while."""
        state = self._own_state()
        self._close(state.drain(connections.IDLE_SECONDS))
        state.close_idle(self._close_idle, again=True)

    def _close(self, links: list[Link]) -> None:
        for link in links:
            link.abandon()
            self.tally.closed()

    def _take(self, state: _State, *, tried: bool) -> Link:
        while (kept := state.pop()) is not None:
            if kept.fresh(tried=tried):
                return kept
            kept.abandon()
            self.tally.lost()
        link = Link(self._host, self._uri, self._timeout, self._looked)
        asked = time.monotonic()
        try:
            link.open()
        except BaseException as error:
            link.abandon()
            if isinstance(error, TransientError) and self.tally.now.open == 0:  # nothing says that the host is up
                state.note_silence(time.monotonic() - asked)
            raise
        self.tally.opened()
        return link

    def _own_state(self) -> _State:
        """Return this process's connections; a forked child begins without any."""
        if self._state.process != os.getpid():
            self._inherited, self._state = self._state, _State(self._host, self._limit)
            self._inherited.disown()
            self._looked = Looked()
        return self._state


class _State:
    def __init__(self, host: HostName, limit: int) -> None:
        self.process = os.getpid()
        self.limit = Limit(limit, f"host {host}: all {limit} connections", "connections")
        self._lock = threading.Lock()
        self._idle: list[Link] = []
        self._mine = threading.local()
        self._timer: threading.Timer | None = None
        self._asked_again = 0.0

    def note_silence(self, seconds: float) -> None:
        """Note how long an opening waited in vain."""
        if seconds > SILENT_SECONDS:
            self._asked_again = time.monotonic() + REST_SECONDS

    def require_speaking(self, host: HostName) -> None:
        """Return unless the host was silent a moment ago.

        Raises:
            TransientError: `DEFERRED`.
        """
        rest = self._asked_again - time.monotonic()
        if rest > 0:
            detail = f"host {host}: did not answer a moment ago, and is asked again in {rest:.0f} s"
            raise TransientError(TransientCode.DEFERRED, detail, "see whether it is up")

    def pop(self) -> Link | None:
        """Take one that rests: the one that this thread had last, as it knows what the thread is about."""
        mine: Link | None = getattr(self._mine, "link", None)
        with self._lock:
            if mine in self._idle:
                self._idle.remove(mine)
                return mine
            return self._idle.pop() if self._idle else None

    def give_back(self, link: Link) -> bool:
        """Keep a connection that is of use still; say whether it is."""
        usable = link.rest()
        if usable:
            self._mine.link = link
            with self._lock:
                self._idle.append(link)
        return usable

    def drain(self, rested: float = 0.0) -> list[Link]:
        """Give up those that nobody has used for so many seconds."""
        with self._lock:
            drained = [link for link in self._idle if link.rested >= rested]
            self._idle = [link for link in self._idle if link not in drained]
            if not self._idle and self._timer is not None:
                self._timer.cancel()
                self._timer = None
        return drained

    def close_idle(self, close: Callable[[], None], *, again: bool = False) -> None:
        """Have those closed that rest for long, as long as there are any."""
        with self._lock:
            if self._idle and (self._timer is None or again):
                self._timer = threading.Timer(connections.IDLE_SECONDS / 2, close)
                self._timer.daemon = True
                self._timer.start()

    def disown(self) -> None:
        """The lock is left alone: the parent's thread that held it does not exist here."""
        for link in self._idle:
            link.disown()


def _answer(answer: Future[R], function: Callable[[], R]) -> None:
    try:
        answer.set_result(function())
    except BaseException as error:  # noqa: BLE001  # it is raised where the answer is awaited
        answer.set_exception(error)


_registering = threading.Lock()
_registered_in: int | None = None


def _silent(_context: None, _error: object) -> None:
    """Print nothing: every error is raised as well."""


# libvirt's default handler prints each error to stderr, besides the exception.
libvirt.registerErrorHandler(_silent, None)


def _run_events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def _run_event_loop() -> bool:
    """See that this process has the loop; false when its parent had it, and then keepalive must not be turned on."""
    global _registered_in  # noqa: PLW0603  # libvirt's is just as global
    if _registered_in is None:
        with _registering:
            if _registered_in is None:
                libvirt.virEventRegisterDefaultImpl()
                threading.Thread(target=_run_events, name="libvirt-events", daemon=True).start()
                _registered_in = os.getpid()
    return _registered_in == os.getpid()
