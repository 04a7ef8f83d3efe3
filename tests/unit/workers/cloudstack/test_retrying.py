from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tests.support import wait_until
from workers.cloudstack import retrying
from workers.cloudstack.retrying import Life


def test_the_sign_stays_fresh_in_a_long_pause_that_ends_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "_LOOK_SECONDS", 0.01)
    alive, ended = tmp_path / "alive", threading.Event()
    entry_point = Life(ended, alive)
    waiting = threading.Thread(target=entry_point.pause, args=(3600,), daemon=True)
    waiting.start()
    for _ in range(3):
        wait_until(lambda: alive.exists() and alive.stat().st_mtime > 1, "a sign of life", timeout=30)
        os.utime(alive, (1, 1))
    ended.set()
    waiting.join(600)
    assert not waiting.is_alive()
    assert not entry_point.goes_on()


def test_an_entry_point_without_a_sign_goes_on_all_the_same() -> None:
    ended = threading.Event()
    entry_point = Life(ended)
    entry_point.pause(0.01)
    assert entry_point.goes_on()
    ended.set()
    assert not entry_point.goes_on()
