"""A slice of `make lives` and of `make lives-proof`: always the same lives, and the breaks that are found fastest."""

import pytest

from tests.lives import broken
from tests.lives.machine import run_lives
from tests.mailboxes import shared_redis_url

LIVES = 25


@pytest.mark.timeout(900)  # ten seconds of work; thousands of round trips on a loaded machine
def test_any_life_goes_as_it_must() -> None:
    run_lives(shared_redis_url(1), LIVES)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("break_it", [broken.no_fence, broken.destroy_leaves_images], ids=lambda one: one.__name__)
def test_a_broken_product_is_found(break_it: broken.Break, monkeypatch: pytest.MonkeyPatch) -> None:
    broken.assert_found(break_it, monkeypatch)
