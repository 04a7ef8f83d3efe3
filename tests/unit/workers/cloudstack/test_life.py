"""A door's sign of life: fresh while it waits, however long; and the door ends when it is told to."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from tests.support import wait_until
from workers.cloudstack import life
from workers.cloudstack.life import Life

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_sign_stays_fresh_in_a_long_pause_that_ends_when_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(life, "_LOOK_SECONDS", 0.01)
    alive, ended = tmp_path / "alive", threading.Event()
    door = Life(ended, alive)
    waiting = threading.Thread(target=door.pause, args=(3600,), daemon=True)
    waiting.start()
    for _ in range(3):
        wait_until(lambda: alive.exists() and alive.stat().st_mtime > 1, "a sign of life", timeout=30)
        os.utime(alive, (1, 1))
    ended.set()
    waiting.join(30)
    assert not waiting.is_alive()
    assert not door.goes_on()


def test_a_door_without_a_sign_goes_on_all_the_same() -> None:
    ended = threading.Event()
    door = Life(ended)
    door.pause(0.01)
    assert door.goes_on()
    ended.set()
    assert not door.goes_on()
