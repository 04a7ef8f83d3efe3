"""SECURITY.md: each threat names what stands against it and a test, and each test that is named exists."""

import ast
import re
from functools import cache
from pathlib import Path

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


def test_each_threat_has_a_mitigation_and_a_test() -> None:
    for threat, mitigation, tests in THREATS:
        assert mitigation, threat
        assert TEST.findall(tests), threat


def test_each_test_that_is_named_exists() -> None:
    assert [f"{path}::{name}" for path, name in sorted(set(TEST.findall(TEXT))) if name not in functions(path)] == []
