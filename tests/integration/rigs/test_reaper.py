import os
import random
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from rigs.reaper import processes_with
from tests.support import require_rig, wait_until

HELD = Path(__file__).with_name("held_fleet.py")


ALL = 100
"""More processes than there ever are: then all are there."""


@pytest.mark.parametrize(
    ("number", "options", "moment"),
    [
        (signal.SIGINT, ["-n", "1"], ALL),
        (signal.SIGINT, [], random.randint(1, 8)),  # noqa: S311 - a moment, no secret
        (signal.SIGKILL, ["-n", "1"], random.randint(1, 8)),  # noqa: S311
    ],
    ids=["interrupted", "interrupted-alone", "killed"],
)
def test_whatever_ends_a_run_no_process_of_it_is_left(
    number: signal.Signals, options: list[str], moment: int, tmp_path: Path
) -> None:
    """When all is up, or at the moment at which so many processes are there."""
    mark, up = uuid.uuid4().hex, tmp_path / "up"
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(HELD)]
    environment = {**os.environ, "HELD_FLEET": str(up), "HELD_BY": mark}
    with require_rig(), (tmp_path / "log").open("wb") as log:
        run = subprocess.Popen(argv, env=environment, stdout=log, stderr=log, start_new_session=True)

    def there() -> int:
        return len(list(processes_with(mark.encode())))

    wait_until(lambda: up.exists() or there() >= moment, f"{moment} processes", timeout=60, interval=0.05)
    assert there() > (5 if moment == ALL else 0)
    run.send_signal(number)
    wait_until(lambda: run.poll() is not None, "pytest to end", timeout=20)
    wait_until(lambda: not list(processes_with(mark.encode())), f"its processes to end, begun by {moment}", timeout=10)
