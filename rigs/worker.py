"""Workers as processes of their own, started as an operator starts them: `configdrive worker`."""

import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from typing_extensions import override

from rigs.process import Daemon, DaemonRig, wait_until

CONFIGDRIVE = str(Path(sys.executable).with_name("configdrive"))
"""The console script of the environment that runs the tests."""

_READY = b" ready."


class Worker(DaemonRig):
    """One worker with the children of its pool.

    Args:
        directory: gets its log, `<name>.log`; must exist. It is also the worker's TMPDIR, so that what it leaves behind
            can be looked at.
        name: the worker's name in Flower.
        environment: its settings (`CONFIGDRIVE_…`).
        hypervisor: whose events it works on.
        options: more options of `configdrive worker`.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        environment: Mapping[str, str],
        *,
        hypervisor: str = "simulated",
        options: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.temporary = directory / f"{name}.tmp"
        self.temporary.mkdir(exist_ok=True)
        argv = [CONFIGDRIVE, "worker", "--hypervisor", hypervisor, "--name", name, *options]
        self._daemon = Daemon(argv, directory / f"{name}.log", {**environment, "TMPDIR": str(self.temporary)})
        self._seen = 0

    @property
    def exit_code(self) -> int | None:
        """How its main process ended (negative: by that signal); `None` while it runs."""
        return self._daemon.exit_code

    @property
    def log(self) -> str:
        """All that it has ever written."""
        with contextlib.suppress(FileNotFoundError):
            return self._daemon.log.read_text("utf-8", errors="replace")
        return ""

    def children(self) -> list[int]:
        """Return the process ids of its pool; none with a pool that has no processes."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        return []

    def launch(self) -> None:
        """Start it, and do not wait."""
        self._seen = self._daemon.log.stat().st_size if self._daemon.log.exists() else 0
        self._daemon.start()

    def wait_ready(self) -> None:
        """Wait until it takes events.

        Raises:
            RigError: it ended, or took longer than 30 s.
        """
        self._daemon.wait_ready(self._is_ready, timeout=30)

    @override
    def start(self) -> None:
        """Start it and wait until it takes events.

        Raises:
            RigError: as `wait_ready`.
        """
        self.launch()
        self.wait_ready()

    @override
    def kill(self) -> None:
        """End its main process at once (SIGKILL). The children notice when they next look, as in real life."""
        self._daemon.kill()

    def terminate(self) -> None:
        """Ask it to end when its tasks are done (SIGTERM), and do not wait."""
        self._daemon.signal(signal.SIGTERM)

    def wait_ended(self, timeout: float) -> int:
        """Wait for its end; returns the exit code.

        Raises:
            RigError: it still runs after `timeout` seconds.
        """
        wait_until(lambda: not self.running, f"worker {self.name} to end", timeout=timeout)
        code = self.exit_code
        assert code is not None
        return code

    @override
    def stop(self) -> None:
        """End it in order, after 10 s by force; and whatever of its pool is still there, at once."""
        self._daemon.stop()
        self.sweep_up()

    def sweep_up(self) -> None:
        """End what killed main processes have left of their pools: known by the TMPDIR that no other worker has."""
        mark = f"TMPDIR={self.temporary}\0".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (process / "environ").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)

    def _is_ready(self) -> bool:
        with self._daemon.log.open("rb") as log:
            log.seek(self._seen)
            return _READY in log.read()
