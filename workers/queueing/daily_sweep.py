"""The daily storage sweep: a process that workers start, once in a setting's time in the whole fleet."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Final

_log: Final = logging.getLogger("configdrive.storage_sweep")

_LOOK_SECONDS: Final = 60.0
_FIRST_LOOKS: Final = 10
"""An interval is looked at so often at least: a short one is kept, too."""

_END_SECONDS: Final = 5.0

COMMAND: Final = (sys.executable, "-P", "-c", "from workers.cli import main; main()", "sweep", "--json", "--hypervisor")


DRIVES_SECONDS: Final = 300.0
"""How often it is looked whether running VMs have lost their drives; in the whole fleet."""

DRIVES_COMMAND: Final = (*COMMAND[:-2], "--drives", *COMMAND[-2:])


class DailySweep:
    """Starts `configdrive sweep` when its time has come, and waits for its end.

    A process of its own, so that no event waits for it, no child of the pool is forked in the middle of it, and what it
    has loaded is gone afterwards. It may be killed at any time: it deletes under a lease, one image at a time.

    Args:
        hypervisor: whose storages.
        every: seconds between two sweeps in the whole fleet.
        due: says whether the time has come, to one of all workers that ask.
        command: what is started, without the hypervisor's name.
        dropped: takes note of how many VMs had lost their drives.
    """

    def __init__(
        self,
        hypervisor: str,
        every: float,
        due: Callable[[], bool],
        command: tuple[str, ...] = COMMAND,
        dropped: Callable[[int], None] = lambda _number: None,
    ) -> None:
        self._argv = [*command, hypervisor]
        self._pause = min(_LOOK_SECONDS, every / _FIRST_LOOKS)
        self._due = due
        self._dropped = dropped

    def run(self, ended: threading.Event) -> None:
        """Sweep whenever it is due, until told to end."""
        while not ended.wait(self._pause):
            try:
                if self._due():
                    self._sweep(ended)
            except Exception as error:  # noqa: BLE001 - Redis may be away; the next look tries again
                _log.warning("no storage sweep: %s", type(error).__name__)

    def _sweep(self, ended: threading.Event) -> None:
        if "--drives" not in self._argv:
            _log.info("sweeping all storages")
        # Its standard error is ours: its log lines stand in the worker's log.
        with subprocess.Popen(self._argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:  # noqa: S603
            said = _read(process, ended)
        if process.returncode < 0:
            return  # the worker ends
        try:
            found = json.loads(said)
        except ValueError:
            _log.warning("the storage sweep ended with code %d", process.returncode)
            return
        if "drives" in found:
            for one in found["drives"]:
                _log.warning("VM %s came up on host %s without %s: its drive is to be filled", *one.values())
            self._dropped(len(found["drives"]))
            return
        deleted = sum(image["deleted"] for image in found["images"])
        away = ", ".join(found["hosts_away"])
        _log.info("swept: %d images, %d deleted%s", len(found["images"]), deleted, f"; away: {away}" if away else "")


def _read(process: subprocess.Popen[bytes], ended: threading.Event) -> bytes:
    """Return all that a process prints; it is ended with the worker."""
    while True:
        try:
            said, _ = process.communicate(timeout=1.0)
        except subprocess.TimeoutExpired:
            if ended.is_set():
                process.terminate()
                try:
                    process.communicate(timeout=_END_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
        else:
            return said
