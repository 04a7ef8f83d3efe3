"""The looks of the fleet in Flower: Flower's own options by name, and its rows in words.

`configdrive flower` starts with these; environment, a configuration file (`--conf`) and the command line weigh more.
"""

from __future__ import annotations

import ast
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

tasks_columns = "name,args,state,worker,result,retries,runtime,received,uuid"
"""The columns of the page of tasks: one row for each event, its id last. Which type it is, the name says."""

natural_time = True
"""Times as "a minute ago"; the page of a task has them to the second."""

read_only = True
"""No buttons that stop workers or revoke tasks: an event is decided on by `configdrive retry` and `skip`."""

enable_events = False
"""Workers send them always, and take no command to: Flower would give it to each of them every few seconds."""

max_tasks = 20_000
"""Events kept in Flower's memory. What became of older ones stands on the outcome stream (`configdrive watch`)."""

purge_offline_workers = 3600
"""Seconds after which a worker that has ended is no longer listed: names change with every restart."""

_NAME = 24
_SHOWN_IN_FULL = frozenset({"Parked", "Waiting", "Refused"})


def format_task(task: Any) -> Any:  # noqa: ANN401 - Celery's record of a task, a copy, which has no public type
    """Say a row in words: which event of which VM, and what came of it."""
    task.args, task.kwargs = _event(task.args)
    if task.state in {"FAILURE", "RETRY"}:
        kind, words = _exception(task.exception)
        task.result = words
        if kind in _SHOWN_IN_FULL:
            task.exception = task.traceback = None
    else:
        task.result = _text(task.result)
    return task


def _event(arguments: Any) -> tuple[Any, str]:  # noqa: ANN401 - Flower shows whatever is there
    """Return the row's event and VM, by name and uuid, and for the page of the task the command that says more."""
    match _read(arguments):
        case (str(event), str(vm), int(), *name):
            return " ".join((event, *map(_short, name), vm)), f"configdrive show {vm}"
        case (str(host),):
            return f"host {host}", ""
        case _:
            return arguments, ""


def _short(name: object) -> str:
    """Return an instance name that leaves room for the rest of the row."""
    text = str(name)
    return text if len(text) <= _NAME else f"{text[: _NAME - 1]}…"


def _exception(shown: Any) -> tuple[str, str]:  # noqa: ANN401 - as above
    """Return an exception's type and words: of `Retry(Retry(...), Waiting('vm_busy'), ...)` the inner one's."""
    if not isinstance(shown, str):
        return "", ""
    with suppress(SyntaxError, ValueError):
        for node in ast.walk(ast.parse(shown, mode="eval")):
            match node:
                case ast.Call(func=ast.Name(id=kind), args=[ast.Constant(value=str(words)), *_]):
                    return kind, words if kind in _SHOWN_IN_FULL else f"{kind}: {words}"
                case _:
                    continue
    return "", shown


def _text(result: Any) -> Any:  # noqa: ANN401 - as above
    read = _read(result)
    return read if isinstance(read, str) else result


def _read(shown: Any) -> Any:  # noqa: ANN401 - as above
    """Read a Python literal; `None` when it is none."""
    if isinstance(shown, str):
        with suppress(SyntaxError, ValueError):
            return ast.literal_eval(shown)
    return None
