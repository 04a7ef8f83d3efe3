"""The collector's pace: what a worker has loaded is out of its sight when children are forked."""

from __future__ import annotations

import gc

from workers.cli import pace


def test_what_is_loaded_is_looked_through_no_more() -> None:
    before = gc.get_freeze_count()
    tracked = len(gc.get_objects())
    try:
        pace.share()
        assert gc.get_freeze_count() - before > tracked / 2
        assert len(gc.get_objects()) < tracked / 2
    finally:
        gc.unfreeze()
