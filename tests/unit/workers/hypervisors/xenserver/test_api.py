import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from workers.hypervisors import xenserver
from workers.hypervisors.xenserver import api

KNOWN = frozenset({"host", "host_metrics", "SR", "PBD", "VM", "VBD", "VDI", "task", "session"})
"""The classes of the management API that the driver has to do with."""

FOLDER = Path(inspect.getfile(xenserver)).parent


def messages(node: ast.AST) -> Iterator[str]:
    """Every XenAPI message that stands as a string in a piece of code."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            kind, dot, rpc = inner.value.partition(".")
            if kind in KNOWN and dot and rpc.replace("_", "").isalpha():
                yield inner.value


def methods() -> list[ast.FunctionDef]:
    (calls,) = [
        node
        for node in ast.parse(inspect.getsource(api)).body
        if isinstance(node, ast.ClassDef) and node.name == "Xapi"
    ]
    public = [node for node in calls.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    return [node for node in public if list(messages(node))]


@pytest.mark.parametrize("method", methods(), ids=lambda method: method.name)
def test_every_call_is_named_with_its_class_and_rpc_in_the_reference(method: ast.FunctionDef) -> None:
    said = ast.get_docstring(method) or ""
    for message in messages(method):
        kind, _, rpc = message.partition(".")
        assert f"Class {kind}, " in said
        assert rpc in said


def test_no_other_module_makes_calls_of_its_own() -> None:
    elsewhere = {
        (path.name, message)
        for path in FOLDER.glob("*.py")
        if path.name != "api.py"
        for message in messages(ast.parse(path.read_text()))
    }
    assert elsewhere == {
        ("sessions.py", "session.login_with_password"),
        ("sessions.py", "session.logout"),
    }
