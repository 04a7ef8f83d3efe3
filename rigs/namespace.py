"""A machine within the machine: mounts, host name and processes of its own, on the same kernel and loopback."""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from typing_extensions import override

from rigs.process import Daemon, RigError, RigUnavailable, find_program, tail

# Runs as process 1 of the namespace. Before the new /proc is mounted, /proc/self still shows the outer process id.
# Ignoring SIGCHLD makes the kernel reap what is orphaned in here, such as a QEMU whose libvirtd went away.
_INIT = """\
set -eu
name=$1 ready=$2; shift 2
read -r pid rest </proc/self/stat
mount -t proc proc /proc
while [ $# -gt 0 ]; do mount --bind "$1" "$2"; shift 2; done
hostname "$name"
echo "$pid" >"$ready.part"
mv "$ready.part" "$ready"
exec env --ignore-signal=CHLD sleep infinity
"""


class Namespace:
    """Mount, UTS and process namespaces that live until `stop`; every process in them ends with them.

    Args:
        directory: for its log and process id.
        name: the host name inside.
        mounts: path inside -> directory or file outside that is to be seen there. Both have to exist.
    """

    def __init__(self, directory: Path, name: str, mounts: Mapping[Path, Path]) -> None:
        self._ready = directory / "namespace.pid"
        pairs = [str(path) for inside, outside in mounts.items() for path in (outside, inside)]
        self._daemon = Daemon(
            [
                find_program("unshare", "util-linux"),
                *("--mount", "--uts", "--pid", "--fork", "--kill-child"),
                *("sh", "-c", _INIT, "init", name, str(self._ready), *pairs),
            ],
            directory / "namespace.log",
        )

    @property
    def running(self) -> bool:
        """Whether the namespaces are there."""
        return self._daemon.running

    def start(self) -> None:
        """Make the namespaces and everything that is mounted in them.

        Raises:
            RigUnavailable: we may not: no root, or a container without that right.
        """
        if os.geteuid() != 0:
            # A user namespace is no way out: QEMU's start sets groups, which is forbidden in one that a user makes.
            raise RigUnavailable("a private libvirt host needs root, for its mount and process namespaces")
        self._ready.unlink(missing_ok=True)
        self._daemon.start()
        try:
            self._daemon.wait_ready(self._ready.exists, timeout=10)
        except RigError as error:
            raise RigUnavailable(f"namespaces cannot be made here: {tail(self._daemon.log, 3)}") from error

    def stop(self) -> None:
        """End every process inside, at once, and with them the mounts; returns when all are gone."""
        if self.running:
            # Not the process that we started: that one ends when the last one inside has.
            os.kill(int(self._ready.read_text()), signal.SIGKILL)
        self._daemon.stop()

    def within(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs `argv` with the files and the host name of in here.

        It stays a process of the outside: it sees itself in no /proc, is signalled by its own pid, and ends with the
        one who started it.
        """
        return self._enter("--mount", "--uts", argv=argv)

    def daemon(self, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> Daemon:
        """Return a daemon that will run wholly in here."""
        return _Inside(lambda: self._enter("--mount", "--uts", "--pid", argv=argv), log, env)

    def _enter(self, *kinds: str, argv: Sequence[str]) -> list[str]:
        pid = self._ready.read_text().strip()
        return [find_program("nsenter", "util-linux"), "--target", pid, *kinds, "--", *argv]


class _Inside(Daemon):
    """A daemon below nsenter, which has to fork to put it into the process namespace."""

    @property
    @override
    def name(self) -> str:
        return Path(self.argv[self.argv.index("--") + 1]).name if self.argv else self.log.stem

    @property
    @override
    def pid(self) -> int:
        nsenter = super().pid
        try:
            return int(Path(f"/proc/{nsenter}/task/{nsenter}/children").read_text().split()[0])
        except (OSError, IndexError) as error:
            raise ProcessLookupError(f"{self.name} has ended") from error

    @override
    def resume(self) -> None:
        super().resume()
        if self.running:
            os.kill(super().pid, signal.SIGCONT)  # nsenter stops together with what it started
