from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from rigs.reaper import processes_with
from tests.support import require_rig, wait_until

HELD = Path(__file__).with_name("held_fleet.py")


@pytest.mark.parametrize(
    ("number", "options"),
    [(signal.SIGINT, ["-n", "1"]), (signal.SIGINT, []), (signal.SIGKILL, ["-n", "1"])],
    ids=["interrupted", "interrupted-alone", "killed"],
)
def test_whatever_ends_a_run_no_process_of_it_is_left(
    number: signal.Signals, options: list[str], tmp_path: Path
) -> None:
    mark, up = uuid.uuid4().hex, tmp_path / "up"
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(HELD)]
    environment = {**os.environ, "HELD_FLEET": str(up), "HELD_BY": mark}
    with require_rig(), (tmp_path / "log").open("wb") as log:
        run = subprocess.Popen(argv, env=environment, stdout=log, stderr=log, start_new_session=True)
    wait_until(up.exists, "the fleet to be up", timeout=60)
    assert len(list(processes_with(mark.encode()))) > 5
    run.send_signal(number)
    wait_until(lambda: run.poll() is not None, "pytest to end", timeout=20)
    wait_until(lambda: not list(processes_with(mark.encode())), "its processes to end", timeout=10)
