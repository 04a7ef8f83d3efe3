"""The rule for volume labels. ISO 9660 has room for 32 characters, Joliet (UCS-2) for 16: both carry the same label."""

from __future__ import annotations

import re

MAX_LABEL = 16
LABEL_PATTERN = rf"[A-Za-z0-9._-]{{1,{MAX_LABEL}}}"


def label_problem(label: str) -> str | None:
    """Say what is wrong with a label, with the remedy, or `None` when readers on Linux and Windows all find it."""
    if len(label) > MAX_LABEL:
        return f"has {len(label)} characters; a volume label has at most {MAX_LABEL}"
    if not re.fullmatch(LABEL_PATTERN, label):
        return "may have letters, digits, '.', '_' and '-' only, and at least one of them"
    return None
