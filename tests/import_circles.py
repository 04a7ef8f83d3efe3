"""Circles of imports between modules: `python -m tests.import_circles` names them, and there are none.

Every import counts that a running process makes, at the top of a module or within a function.
"""

from __future__ import annotations

import sys
from graphlib import CycleError, TopologicalSorter

import grimp

PACKAGES = ("configdrive", "tasks", "workers")


def graph() -> dict[str, set[str]]:
    """Return what each module of the product imports of it. Imports for type checkers alone are none."""
    found = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True)
    return {module: set(found.find_modules_directly_imported_by(module)) for module in found.modules}


def circle(imports: dict[str, set[str]]) -> list[str]:
    """Return one circle, its first module repeated at its end; empty when there is none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def main() -> int:
    """Say what was found; 1 when there is a circle."""
    imports = graph()
    found = circle(imports)
    told = f"a circle: {' <- '.join(found)}" if found else f"{len(imports)} modules, and no circle of imports"
    sys.stdout.write(f"{told}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
