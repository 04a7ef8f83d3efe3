"""Spans: the verbs of the audit log from their beginnings to their ends, VM by VM."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from rigs.simulated.audit import Entry, Mark

CHANGING: Final = frozenset({"upload", "copy", "attach", "detach", "delete"})
"""The verbs before which a worker looks whether the VM is its own still."""

VERBS: Final = CHANGING | {"observe"}


@dataclass(frozen=True, slots=True)
class Span:
    """One verb of one process."""

    verb: str
    begin: int
    end: int
    pid: int
    thread: int


def spans_of(entries: Iterable[Entry], verbs: Collection[str]) -> dict[str, list[Span]]:
    """Return each VM's verbs of these names, oldest first. One that was killed ends with its last line."""
    spans: dict[str, list[Span]] = defaultdict(list)
    open_: dict[tuple[str, int, int], tuple[str, int, int]] = {}

    def close(key: tuple[str, int, int]) -> None:
        verb, begin, end = open_.pop(key)
        spans[key[0]].append(Span(verb, begin, end, key[1], key[2]))

    for entry in entries:
        if entry.verb not in verbs:
            continue
        key = (entry.vm, entry.pid, entry.thread)
        if entry.mark is Mark.BEGIN and key in open_:
            close(key)
        if entry.mark is Mark.BEGIN or key not in open_:  # its beginning was torn
            open_[key] = (entry.verb, entry.tick, entry.tick)
        else:
            open_[key] = (open_[key][0], open_[key][1], entry.tick)
        if entry.mark is Mark.END:
            close(key)
    for key in list(open_):
        close(key)
    for found in spans.values():
        found.sort(key=lambda span: span.begin)
    return spans
