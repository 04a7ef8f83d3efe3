"""A test that starts a fleet and then goes on for ever; `test_reaper.py` runs and interrupts it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rigs.fleet import Fleet

INVENTORY = '[simulated]\ndirectory = "{}"\n[simulated.hosts.host-01]\nstorages = {{ primary = {{}} }}\n'
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)"


@pytest.mark.timeout(1000)
def test_goes_on_for_ever(tmp_path: Path) -> None:
    with Fleet(tmp_path, INVENTORY.format(tmp_path), workers=1) as fleet:
        subprocess.Popen([sys.executable, "-c", STUBBORN], start_new_session=True)
        fleet.redis.pause()  # so that no worker ends when it is asked to
        Path(os.environ["HELD_FLEET"]).touch()
        time.sleep(1000)
