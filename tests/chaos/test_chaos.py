"""A short storm with a seed of its own each time, as part of `make test`; `make chaos` lets longer ones rage."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

import pytest

from tests.chaos.plan import Kind, Trouble
from tests.chaos.plan_from_seed import make_plan
from tests.chaos.storm import Storm
from tests.chaos.verdict import verdict
from tests.support import on_ci, require_rig

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 0.75


def test_short_storm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = 1 if on_ci() else random.randrange(10**6)  # noqa: S311  # chaos, no cryptography
    plan = replace(make_plan(seed, SECONDS), pool="prefork")
    killed = Trouble(SECONDS, Kind.KILL_MAIN, who=seed)  # so short a storm has none by chance
    plan = replace(plan, troubles=(*plan.troubles, killed))
    with require_rig():
        storm = Storm(plan, tmp_path)
    left = storm.run()
    findings = verdict(left)
    with capsys.disabled():
        fresh = f"a fresh event {median(left.fresh):.2f} s, before {median(left.idle):.2f} s"
        sys.stdout.write(f"\n[measured] {len(left.outcomes)} outcomes, seed {seed}, {left.seconds:.1f} s, {fresh}\n")
    again = f"again: make chaos SEED={seed} SECONDS={SECONDS} POOL=prefork; all of it: {tmp_path}"
    assert findings == [], again
