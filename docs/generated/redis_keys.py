"""The keys on Redis, from the docstrings of `workers.store.mailbox`, `intake` and `places`."""

from __future__ import annotations

from docs.generated.source import table_of


def markdown() -> str:
    """Return the table of keys."""
    more = [line for module in ("intake", "places") for line in table_of(f"workers.store.{module}").splitlines()[2:]]
    return "\n".join((table_of("workers.store.mailbox"), *more))
