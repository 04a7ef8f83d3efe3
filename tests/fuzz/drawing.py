"""Values of Hypothesis' strategies as plain lists, the same ones each time."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

_T = TypeVar("_T")


def drawn(strategy: SearchStrategy[_T], count: int) -> list[_T]:
    """Draw so many values."""
    found: list[_T] = []

    @seed(1)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def draw(value: _T) -> None:
        found.append(value)

    draw()
    return found
