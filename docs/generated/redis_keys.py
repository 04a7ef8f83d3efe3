"""The keys on Redis, from the docstrings of `workers.store.mailbox` and `workers.store.intake`."""

from __future__ import annotations

from docs.generated.source import table_of


def markdown() -> str:
    """Return the table of keys."""
    _head, _line, *intake = table_of("workers.store.intake").splitlines()
    return "\n".join((table_of("workers.store.mailbox"), *intake))
