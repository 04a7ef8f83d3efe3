"""The product's modules import one another in one direction only."""

from __future__ import annotations

from tests.import_circles import circle, graph


def test_no_module_imports_itself_by_way_of_others() -> None:
    imports = graph()
    assert len(imports) > 150
    assert circle(imports) == []


def test_a_circle_would_be_found() -> None:
    found = circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})
    assert found[0] == found[-1]
    assert set(found) == {"a", "b", "c"}
