"""A short storm with a seed of its own each time, as part of `make test`; `make chaos` lets longer ones rage."""

import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from rigs.worker import Worker
from tests.chaos.plan import MIXED, Kind, Trouble
from tests.chaos.plan_from_seed import make_plan
from tests.chaos.storm import Storm
from tests.chaos.troubles import set_clock, wrong_clock
from tests.chaos.verdict import verdict
from tests.support import on_ci, require_rig

SECONDS = 0.75
SPREAD = 9
"""How many times as long lives begin: until each of these has come."""

SURE = (
    Trouble(0.5, Kind.REDIS_RESTART),
    Trouble(1.0, Kind.KILL_MAIN),
    Trouble(1.2, Kind.REDIS_KILL, seconds=0.5),
    Trouble(2.0, Kind.REDIS_FULL, seconds=2.5),
    Trouble(4.8, Kind.REDIS_PAUSE, seconds=1.5),
)
"""So short a storm has none by chance. Two seconds after Redis was killed workers connect again: to a full one."""


def test_short_storm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = 1 if on_ci() else random.randrange(10**6)  # noqa: S311  # chaos, no cryptography
    plan = make_plan(seed, SECONDS)
    by_chance = [trouble for trouble in plan.troubles if trouble.kind not in {sure.kind for sure in SURE}]
    lives = [replace(life, begins=life.begins * SPREAD) for life in plan.lives]
    plan = replace(plan, pools=MIXED, lives=tuple(lives), troubles=(*by_chance, *SURE))
    with require_rig():
        storm = Storm(plan, tmp_path)
    left = storm.run()
    findings = verdict(left)
    with capsys.disabled():
        fresh = f"a fresh event {median(left.fresh):.2f} s, before {median(left.idle):.2f} s"
        sys.stdout.write(f"\n[measured] {len(left.outcomes)} outcomes, seed {seed}, {left.seconds:.1f} s, {fresh}\n")
    again = f"about the same again: make chaos SEED={seed} SECONDS={SECONDS} POOL=mixed; all of it: {tmp_path}"
    assert findings == [], again
    assert left.chronicle.counts.keys() >= {sure.kind for sure in SURE}


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
