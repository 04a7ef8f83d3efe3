"""The extras of this distribution, which hold what not everybody needs, and how one that is missing is installed."""

from __future__ import annotations


def how_to_install(extra: str) -> str:
    """Return the remedy for an extra that is missing. No index has this distribution: it comes from its source."""
    return f"in the checkout: pip install '.[{extra}]' (`make setup` and the Debian package install all extras)"
