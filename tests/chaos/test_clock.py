"""A clock that jumps deceives whoever looks at the time of day, and nobody who measures a duration."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from rigs.worker import Worker
from tests.chaos.clock import set_clock, wrong_clock
from tests.support import require_rig

if TYPE_CHECKING:
    from pathlib import Path

LOOK = "import datetime, time; print(time.time(), datetime.datetime.now().timestamp(), time.monotonic())"


def test_wall_clock_jumps_and_the_other_does_not(tmp_path: Path) -> None:
    with require_rig():
        library = wrong_clock()
    worker = Worker(tmp_path, "w", {})
    set_clock(worker, 0)
    for wrong_by in (0, 86_400, -3600):
        set_clock(worker, wrong_by)
        environment = {**os.environ, "LD_PRELOAD": str(library), "TMPDIR": str(worker.temporary)}
        found = subprocess.run([sys.executable, "-c", LOOK], env=environment, capture_output=True, check=True).stdout
        first, second, monotonic = map(float, found.split())
        assert abs(first - time.time() - wrong_by) < 60
        assert abs(second - time.time() - wrong_by) < 60
        assert abs(monotonic - time.monotonic()) < 60
