"""No circle in what is imported, be it for the type checker alone, neither between modules nor between rooms."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

import grimp
import pytest


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    graph = grimp.build_graph("configdrive", "tasks", "workers", "rigs", "demo", "benchmarks", cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) != []
    assert circle({"a": {"b", "c"}, "b": {"c"}}) == []


def test_no_module_imports_itself_by_way_of_others(imports: dict[str, set[str]]) -> None:
    assert len(imports) > 150
    assert circle(imports) == []


def test_no_room_imports_itself_by_way_of_others(imports: dict[str, set[str]]) -> None:
    rooms: dict[str, set[str]] = defaultdict(set)
    for module, imported in imports.items():
        rooms[room(module)] |= {room(other) for other in imported} - {room(module)}
    assert circle(rooms) == []
