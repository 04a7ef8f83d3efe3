"""What stands in the source beside the code: the docstrings below names, and tables in the docstrings of modules."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from typing import TYPE_CHECKING

from sphinx.pycode import ModuleAnalyzer

if TYPE_CHECKING:
    from collections.abc import Iterable

_OURS = frozenset({"configdrive", "tasks", "workers"})


def docstrings_below(owner: type) -> dict[str, str]:
    """Return the docstrings that stand below the names in a class of ours and in those that it extends."""
    found: dict[str, str] = {}
    for one in reversed(owner.__mro__):
        if one.__module__.partition(".")[0] in _OURS:
            documented = ModuleAnalyzer.for_module(one.__module__).find_attr_docs()
            found |= {
                name: "\n".join(lines).strip()
                for (scope, name), lines in documented.items()
                if scope == one.__qualname__
            }
    return found


def docstrings_in(module: str) -> dict[str, str]:
    """Return the docstrings that stand below the names in a module, classes left out."""
    documented = ModuleAnalyzer.for_module(module).find_attr_docs()
    return {name: "\n".join(lines).strip() for (scope, name), lines in documented.items() if not scope}


def annotated(owner: type) -> dict[str, str]:
    """Return the names that a class itself annotates, with the annotations as they are written.

    Raises:
        TypeError: no class.
    """
    (tree,) = ast.parse(inspect.getsource(owner)).body
    if not isinstance(tree, ast.ClassDef):
        raise TypeError(owner)
    return {
        line.target.id: ast.unparse(line.annotation)
        for line in tree.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }


def table_of(module: str) -> str:
    """Return the table in a module's docstring."""
    text = inspect.getdoc(import_module(module)) or ""
    return "\n".join(line for line in text.splitlines() if line.startswith("|"))


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(cell.replace("\n", " ") for cell in line) + " |" for line in lines)
