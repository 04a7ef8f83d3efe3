"""The text of a contract fault: every field and what is wrong with it, and nothing of what was sent."""

from __future__ import annotations

import re

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from configdrive.errors import PermanentCode, PermanentError

_SHOWN = 5
"""How many faults one error names."""

_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")
"""The form of a contract field's name. What else stands in the path to a fault is the sender's own: not shown."""

_TYPE = re.compile(r"configdrive\.vm\.[a-z_]+\.v1")
_UNKNOWN_TYPE = (
    "'type' must be configdrive.vm.<word>.v1, where the word is one of "
    "deploy, start, stop, migrate, password_reset, update, destroy"
)


def explain(error: ValidationError) -> PermanentError:
    """Turn pydantic's findings into one error that names the fields at fault, without any input value."""
    findings = error.errors(include_url=False, include_input=False, include_context=False)
    code = PermanentCode.INVALID_EVENT
    if any(finding["type"] == "content_too_large" for finding in findings):
        code = PermanentCode.CONTENT_TOO_LARGE
    shown = [f"{_where(finding['loc'])}: {_what(finding)}" for finding in findings[:_SHOWN]]
    if len(findings) > _SHOWN:
        shown.append(f"and {len(findings) - _SHOWN} more")
    return PermanentError(code, "; ".join(shown), "see `configdrive schema` for the contract")


def _what(finding: ErrorDetails) -> str:
    """Return what is wrong. Of pydantic's own sentences, only the one on the type quotes what was sent."""
    return _UNKNOWN_TYPE if finding["type"].startswith("union_tag") else finding["msg"]


def _where(location: tuple[str | int, ...]) -> str:
    """Return the path to a fault. The event's type and pydantic's `[key]` are no part of it."""
    parts = [str(part) for part in location if part != "[key]" and not _TYPE.fullmatch(str(part))]
    return ".".join(part if part.isdecimal() or _FIELD.fullmatch(part) else "?" for part in parts) or "event"
