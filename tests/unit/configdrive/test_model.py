"""The rules for volume labels, and for what stands on one line."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configdrive.drive_data import _NOT_IN_A_LINE
from configdrive.model import MAX_LABEL, label_problem
from tests.unit import strategies


@pytest.mark.parametrize("label", ["config", "config-2", "CONFIG_2", "v1.0", "a", "a" * MAX_LABEL])
def test_takes_what_readers_find(label: str) -> None:
    assert label_problem(label) is None


@given(strategies.labels)
def test_takes_letters_digits_dots_underscores_and_hyphens(label: str) -> None:
    assert label_problem(label) is None


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        ("a" * 17, "17 characters"),
        ("a" * 1_000_000, "1000000 characters"),
        ("", "at least one"),
        ("config 2", "letters"),
        ("config ", "letters"),
        ("größe", "letters"),
        *((f"a{character}b", "letters") for character in '/:"*ä\n'),
        ("٣", "letters"),
    ],
)
def test_tells_the_rule_and_not_the_label(label: str, problem: str) -> None:
    problem_found = label_problem(label)
    assert problem_found is not None
    assert problem in problem_found
    assert not label or label not in problem_found


@given(st.text(max_size=20))
def test_what_is_taken_is_the_same_in_ascii_and_in_ucs_2(label: str) -> None:
    if label_problem(label) is None:
        assert len(label.encode("ascii")) == len(label) <= 16
        assert len(label.encode("utf-16-be")) <= 32


def test_what_is_printable_is_one_line() -> None:
    """So printable values, the usual ones, need no closer look."""
    printable = filter(str.isprintable, map(chr, range(sys.maxunicode + 1)))
    assert _NOT_IN_A_LINE.isdisjoint(map(unicodedata.category, printable))
    assert not "\0".isprintable()
