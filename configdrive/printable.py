"""Printable text, of what strangers may have written. Imports nothing, as every command line begins with it."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return a text with `\ufffd` in the place of each character that would steer a terminal or end a line of a log."""
    return text if text.isprintable() else "".join(one if one.isprintable() else "\ufffd" for one in text)
