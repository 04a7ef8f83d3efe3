"""The keys on Redis, from the docstring of `workers.store`."""

from __future__ import annotations

from docs.generated.source import table_of


def markdown() -> str:
    """Return the table of keys."""
    return table_of("workers.store")
