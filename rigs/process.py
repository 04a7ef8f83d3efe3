"""Starting daemons on loopback, finding them ready, and seeing that none outlives this process."""

import contextlib
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from typing_extensions import override

from rigs import reaper

T = TypeVar("T")

LOOPBACK = "127.0.0.1"

patience = 1.0
"""How many times its limit a wait may take: who shares the machine with others, as tests do, sets it higher."""

_LONGEST_INTERVAL = 0.05
"""Seconds between two questions of a wait, however long it takes."""

_CACHE = Path(__file__).resolve().parents[1] / ".cache"

# An ordinary user's PATH lacks these on Debian; libvirtd and sshd are there.
_ADMIN_PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin")

# Below the range from which Linux takes the ports of outgoing connections (32768 and up), so that no client can sit on
# a daemon's port while that daemon is being restarted.
_PORTS = range(18000, 32000)

# The kernel sends the parent-death signal when the *thread* that started a child ends, not the process. This thread
# lives as long as the process does, whichever thread asks for a daemon.
_STARTER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rig-starter")


class RigUnavailable(Exception):  # noqa: N818  # no error: tests turn it into a skip, the demo into another hypervisor
    """This machine cannot offer the rig; the message says why and what would help."""


class RigError(Exception):
    """A rig could be started here but did not behave; the message carries the end of its log."""


def find_program(name: str, package: str) -> str:
    """Return a program's full path, also when it lies where only root looks.

    Args:
        name: the program.
        package: the Debian package that has it, for the message.

    Raises:
        RigUnavailable: it is not installed.
    """
    path = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *_ADMIN_PATH)))
    if path is None:
        raise RigUnavailable(f"{name} is not installed; on Debian: apt-get install --no-install-recommends {package}")
    return path


def cache_directory(name: str) -> Path:
    """Return a directory of the checkout for what is costly to make and easy to make again; git ignores it."""
    directory = _CACHE / name
    directory.mkdir(parents=True, exist_ok=True)
    ignore = _CACHE / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    return directory


def free_port() -> int:
    """Return a TCP port of the loopback address that nobody listens on at this moment.

    Raises:
        RigUnavailable: a hundred ports in a row were taken.
    """
    for port in random.sample(_PORTS, 100):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise RigUnavailable("no free TCP port on the loopback address")


def wait_until(probe: Callable[[], T | None], what: str, *, timeout: float, interval: float = 0.01) -> T:
    """Call `probe` until it answers something true, and return that answer.

    Args:
        probe: is asked again and again; what it raises is not caught.
        what: ends the sentence "waited N s for ...".
        timeout: seconds, on a machine that does nothing else: see `patience`.
        interval: seconds between two questions at first; who waits for long is asked less often, which costs less CPU.

    Raises:
        RigError: the time is over.
    """
    timeout *= patience
    began = time.monotonic()
    while not (answer := probe()):
        waited = time.monotonic() - began
        if waited > timeout:
            raise RigError(f"waited {timeout:g} s for {what}")
        time.sleep(max(interval, min(waited / 20, _LONGEST_INTERVAL)))
    return answer


def answers(url: str) -> bool:
    """Whether a page of ours is there."""
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310  # a loopback address
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


def tail(path: Path, lines: int = 20) -> str:
    """Return the end of a log, or a word saying that there is none."""
    try:
        text = path.read_text(errors="replace").strip()
    except FileNotFoundError:
        text = ""
    return "\n".join(text.splitlines()[-lines:]) or "(its log is empty)"


@contextlib.contextmanager
def core_files_on() -> Iterator[None]:
    """Let processes that are started meanwhile write core files, as far as this one may allow it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


class Daemon:
    """One process in the foreground that is known by its pid and dies with this process, and its children with it.

    Args:
        argv: the command, or what makes it at each start; the program itself must not fork away.
        log: receives what it prints; appended to, so that a restart keeps the earlier lines.
        env: additions to the environment.
    """

    def __init__(
        self, argv: Sequence[str] | Callable[[], Sequence[str]], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.argv: tuple[str, ...] = () if callable(argv) else tuple(argv)
        self._make_argv = argv if callable(argv) else lambda: argv
        self.log = log
        self._env = dict(env or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """The program, for messages."""
        return Path(self.argv[0]).name if self.argv else self.log.stem

    @property
    def pid(self) -> int:
        """The process id; stays that of the last run after the end.

        Raises:
            RigError: it was never started.
        """
        if self._process is None:
            raise RigError(f"{self.name} was not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there (a paused one is)."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How it ended (negative: by that signal); `None` while it runs or was never started."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it; a running one is left alone.

        Raises:
            RigUnavailable: `setpriv` (util-linux) is missing.
        """
        if self.running:
            return
        setpriv = find_program("setpriv", "util-linux")
        self.argv = tuple(self._make_argv())
        reaper.watch_over()
        with self.log.open("ab") as log:
            self._process = _STARTER.submit(
                subprocess.Popen,
                [setpriv, "--pdeathsig", "KILL", *self.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._env},
                start_new_session=True,  # Ctrl-C is for the one who started us, who then stops us in order
            ).result()

    def wait_ready(self, probe: Callable[[], T | None], *, timeout: float) -> T:
        """Wait until `probe` answers something true.

        Raises:
            RigError: the process ended before, or the time is over and it was killed; with the end of its log.
        """

        def checked() -> T | None:
            if not self.running:
                raise RigError(f"{self.name} ended at its start:\n{tail(self.log)}")
            return probe()

        try:
            return wait_until(checked, f"{self.name} to be ready", timeout=timeout)
        except RigError as error:
            ended = not self.running
            self.kill()
            raise error if ended else RigError(f"{error}:\n{tail(self.log)}") from None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; to a process that has ended, nothing happens."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nobody answers."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen one go on."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once (SIGKILL) and wait for the end."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def stop(self, timeout: float = 60.0) -> None:
        """End it in order (SIGTERM), after `timeout` seconds by force; one that is not running is left alone."""
        if self._process is None:
            return
        self.resume()
        self.signal(signal.SIGTERM)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()


class Rig(ABC):
    """A peer that is started and stopped, or is there within a `with`."""

    @abstractmethod
    def start(self) -> None:
        """Start it, and wait until it answers; one that runs is left alone.

        Raises:
            RigUnavailable: this machine cannot offer it.
            RigError: it ended at once, or did not answer in time.
        """

    @abstractmethod
    def stop(self) -> None:
        """Stop it in order."""

    def __enter__(self) -> Self:
        """Start; what was started is stopped when something goes wrong."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()


class DaemonRig(Rig):
    """A peer that is one daemon."""

    _daemon: Daemon

    @property
    def running(self) -> bool:
        """Whether its process is there (a paused one is)."""
        return self._daemon.running

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._daemon.pid

    @override
    def stop(self) -> None:
        self._daemon.stop()

    def kill(self) -> None:
        """End its process at once (SIGKILL)."""
        self._daemon.kill()

    def pause(self) -> None:
        """Make it hang: connections stay open, and nothing is answered."""
        self._daemon.pause()

    def resume(self) -> None:
        """Let a paused one go on."""
        self._daemon.resume()
