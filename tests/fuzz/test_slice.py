"""A slice of `make fuzz`, and the runner itself: it must find what it is there to find."""

import time
from random import Random

import pytest

from tests.fuzz import runner
from tests.fuzz.targets import TARGETS

CASES, SEED = 75, 0


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_strange_ends_otherwise_than_it_should(name: str) -> None:
    report = runner.run(name, TARGETS[name], CASES, SEED)
    assert 0 < report.taken < CASES, "all cases went the same way: they prove little"


def test_a_case_is_the_same_each_time() -> None:
    def drawn(into: list[bytes]) -> None:
        def target(random: Random) -> bool:
            into.append(random.randbytes(8))
            return True

        runner.run("x", target, 20, SEED)

    first, again = list[bytes](), list[bytes]()
    drawn(first)
    drawn(again)
    assert first == again
    assert len(set(first)) == 20


def test_a_crash_is_found_and_reported_with_how_to_have_it_again() -> None:
    def crashes(random: Random) -> bool:
        return 1 // random.randrange(10) > 0

    with pytest.raises(runner.FoundError, match=r"ZeroDivisionError(?s:.*)make fuzz TARGET=x SEED=0 CASE=\d"):
        runner.run("x", crashes, 100, SEED)


def test_a_hang_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(_random: Random) -> bool:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            pass
        return True

    monkeypatch.setattr(runner, "CASE_SECONDS", 0.2)
    with pytest.raises(runner.FoundError, match="HangError"):
        runner.run("x", hangs, 1, SEED)


def test_memory_that_grows_is_found_also_where_as_much_was_freed_before() -> None:
    piece = 2**16  # small enough for the heap, which keeps what is freed below something that stays
    freed = [b"x" * piece for _ in range(2000)]
    kept = [b"x" * piece]
    del freed

    def leaks(_random: Random) -> bool:
        kept.extend(b"x" * piece for _ in range(16))
        return True

    with pytest.raises(runner.FoundError, match="memory grew"):
        runner.run("x", leaks, 60, SEED)
