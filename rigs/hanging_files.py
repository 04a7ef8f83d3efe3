"""A file system that hangs: whoever looks into it waits, as for a server of files that is gone, until it is let go."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from typing_extensions import override

from rigs.process import Daemon, DaemonRig

# FUSE without a library. All that is ever answered is the kernel's first question (INIT, 26), after which it asks what
# others want to know; each such question is a line. With the end of the process all of them fail.
_SERVER: Final = """
import ctypes, os, struct, sys
device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
if ctypes.CDLL(None, use_errno=True).mount(b"hangs", os.fsencode(sys.argv[1]), b"fuse", 0, options):
    sys.exit(os.strerror(ctypes.get_errno()))
while True:
    _, asked, number = struct.unpack_from("<IIQ", os.read(device, 1 << 20))
    if asked == 26:
        answer = struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 0, 0, 4096, 1, 1, 0, 0)
        os.write(device, struct.pack("<IiQ", 16 + len(answer), 0, number) + answer)
    print(asked, flush=True)
"""

# umount(8) would look at it first.
_DETACH: Final = "import ctypes, os, sys; ctypes.CDLL(None).umount2(os.fsencode(sys.argv[1]), 2)"

_ASKED: Final = frozenset({"1", "3", "14", "15", "16", "27", "28", "34"})
"""LOOKUP, GETATTR, OPEN, READ, WRITE, OPENDIR, READDIR, ACCESS: what somebody waits for."""


class HangingFiles(DaemonRig):
    """A file system that is mounted over a directory, and hangs as long as it is there.

    Args:
        path: the directory, as `within` sees it.
        log: of what it was asked.
        within: makes the command that runs another one where it is to be mounted.
    """

    def __init__(self, path: Path, log: Path, within: Callable[[Sequence[str]], list[str]]) -> None:
        self._path = path
        self._within = within
        self._daemon = Daemon(within([sys.executable, "-c", _SERVER, str(path)]), log)

    @property
    def waiting(self) -> int:
        """How many questions were asked: each has somebody who waits."""
        lines = self._daemon.log.read_text().splitlines() if self._daemon.log.exists() else []
        return sum(line in _ASKED for line in lines)

    @override
    def start(self) -> None:
        """Mount it."""
        self._daemon.start()
        self._daemon.wait_ready(lambda: "26" in self._daemon.log.read_text().splitlines(), timeout=20)

    @override
    def stop(self) -> None:
        """Let go: what waits fails, and what is below is there again."""
        self._daemon.kill()
        subprocess.run(self._within([sys.executable, "-c", _DETACH, str(self._path)]), check=True)
