"""What guests on Windows get, parsed by a grammar of PowerShell (tree-sitter's): no PowerShell is at hand to run it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import tree_sitter_powershell
from tree_sitter import Language, Node, Parser

WINDOWS: Final = Path(__file__).resolve().parents[3] / "guest" / "windows"
MODULE: Final = WINDOWS / "ConfigDriveGuest"
PESTER_TESTS: Final = WINDOWS / "Tests"

_PARSER: Final = Parser(Language(tree_sitter_powershell.language()))


@dataclass(frozen=True)
class Command:
    """One command as it stands in a script: its name, its parameters' names, and the whole text."""

    name: str
    parameters: frozenset[str]
    text: str


def sources() -> list[Path]:
    return sorted(path for path in WINDOWS.rglob("*") if path.suffix in {".ps1", ".psm1", ".psd1"})


def parse(text: str) -> Node:
    return _PARSER.parse(text.encode()).root_node


def root(path: Path) -> Node:
    return parse(path.read_text())


def nodes(node: Node, *types: str) -> Iterator[Node]:
    """Return every node of these types, in the order of the text; of any type, when none is given."""
    if not types or node.type in types:
        yield node
    for child in node.children:
        yield from nodes(child, *types)


def text(node: Node) -> str:
    return "" if node.text is None else node.text.decode()


def problems(node: Node) -> list[str]:
    """Return where the grammar does not understand the text."""
    return [
        f"line {found.start_point.row + 1}: {text(found)[:60]!r}"
        for found in nodes(node)
        if found.is_error or found.is_missing
    ]


def functions(node: Node) -> dict[str, Node]:
    return {
        text(name): statement
        for statement in nodes(node, "function_statement")
        for name in statement.children
        if name.type == "function_name"
    }


def commands(node: Node) -> Iterator[Command]:
    for command in nodes(node, "command"):
        for name in command.children:
            if name.type == "command_name" and text(name)[0].isalpha():
                parameters = frozenset(
                    text(parameter).lstrip("-").rstrip(":")
                    for elements in command.children
                    if elements.type == "command_elements"
                    for parameter in elements.children
                    if parameter.type == "command_parameter"
                )
                yield Command(text(name), parameters, text(command))


def parameters(function: Node) -> dict[str, str]:
    """Return the parameters of a function, each with its declaration."""
    [block] = nodes(function, "param_block")
    declared = {}
    for parameter in nodes(block, "script_parameter"):
        [name] = [text(child) for child in parameter.children if child.type == "variable"]
        declared[name.lstrip("$")] = text(parameter)
    return declared
