import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import wait_until
from workers.queueing.daily_sweep import DailySweep

FOUND = '{"images": [{"deleted": true}, {"deleted": false}], "hosts_away": ["h2"]}'


class Sweeps:
    """A daily sweep whose process is a program of the test's own, and what came of it."""

    def __init__(self, program: str, due: Iterator[bool]) -> None:
        self.ended = threading.Event()
        self.counted: list[int] = []
        command = (sys.executable, "-c", program)
        sweep = DailySweep("kvm", 0.01, lambda: next(due, False), command, self.counted.append)
        self.thread = threading.Thread(target=sweep.run, args=(self.ended,), daemon=True)
        self.thread.start()

    def end(self) -> None:
        self.ended.set()
        self.thread.join(600)
        assert not self.thread.is_alive()


def test_what_a_sweep_found_is_logged_once_for_each_time_that_it_was_due(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    sweeps = Sweeps(f"import sys; assert sys.argv[1:] == ['kvm']; print('''{FOUND}''')", iter([False, True, True]))
    said = "swept: 2 images, 1 deleted; away: h2"
    wait_until(lambda: caplog.text.count(said) == 2, "two sweeps", timeout=30)
    sweeps.end()
    assert caplog.text.count("sweeping all storages") == 2


def test_drives_that_were_found_empty_are_named_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    found = '{"drives": [{"vm": "VM-1", "host": "h1", "image": "a.iso"}]}'
    sweeps = Sweeps(f"print({found!r})", iter([True]))
    wait_until(lambda: sweeps.counted, "the look", timeout=30)
    sweeps.end()
    assert (sweeps.counted, "VM VM-1 came up on host h1 without a.iso" in caplog.text) == ([1], True)


def test_a_sweep_that_fails_and_a_redis_that_is_away_end_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def due() -> Iterator[bool]:
        yield True
        raise ConnectionError("Hunter2")

    sweeps = Sweeps("raise SystemExit(78)", due())
    wait_until(lambda: "ended with code 78" in caplog.text, "the failure", timeout=30)
    sweeps.end()
    assert "Hunter2" not in caplog.text


def test_a_sweep_ends_with_its_worker(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    sweeps = Sweeps(f"import pathlib, time; pathlib.Path({str(begun)!r}).touch(); time.sleep(600)", iter([True]))
    wait_until(begun.exists, "the process", timeout=30)
    sweeps.end()  # long before the process would
