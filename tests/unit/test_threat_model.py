"""SECURITY.md: each threat names what stands against it and a test, and each test that is named exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text("utf-8")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
THREATS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.partition("## Threats")[2].splitlines()
    if line.startswith("| ") and not line.startswith("| threat")
]


@cache
def functions(path: str) -> frozenset[str]:
    file = ROOT / path
    if not file.is_file():
        return frozenset()
    tree = ast.parse(file.read_text("utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_there_are_threats_of_every_actor() -> None:
    assert len(THREATS) > 30
    assert TEXT.count("\n### ") == TEXT.count("| threat | mitigation | test |")


@pytest.mark.parametrize("threat", THREATS, ids=lambda threat: threat[0])
def test_each_threat_has_a_mitigation_and_a_test(threat: list[str]) -> None:
    _, mitigation, tests = threat
    assert mitigation
    assert TEST.findall(tests)


@pytest.mark.parametrize(("path", "name"), sorted(set(TEST.findall(TEXT))))
def test_each_test_that_is_named_exists(path: str, name: str) -> None:
    assert name in functions(path)
