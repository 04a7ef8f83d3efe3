"""The operator's vendor data for cloud-init: a file that workers read at the start, for all drives."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from configdrive.errors import PermanentCode, PermanentError

_MOST: Final = 64 * 2**10
"""Bytes; each drive has them twice with the label `cidata`, and cloud-init reads them at each boot."""

_KINDS: Final = re.compile(r"#cloud-config\s*\n|#!|#include\b|#cloud-boothook\b|## template:\s*jinja\s*\n")
"""How what cloud-init tells by its beginning may begin: what can stand in an archive beside the fleet's."""


def read_vendor_data(path: Path | None) -> str | None:
    """Return the file's text; `None` without one.

    Raises:
        PermanentError: `MISCONFIGURED`, naming the file, and nothing of what stands there.
    """
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            content = file.read(_MOST + 1)
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _refused(f"{path} cannot be read ({type(error).__name__})", "correct its path and content") from None
    if len(content) > _MOST:
        raise _refused(f"{path} has more than {_MOST} bytes", "let it fetch what is large")
    if "\x00" in text or not _KINDS.match(text):
        raise _refused(
            f"{path} is nothing that cloud-init knows by its beginning",
            "let it begin with '#cloud-config', '#!', '#include', '#cloud-boothook' or '## template: jinja'; no MIME",
        )
    return text


def _refused(problem: str, remedy: str) -> PermanentError:
    return PermanentError(PermanentCode.MISCONFIGURED, f"vendor_data_file: {problem}", remedy)
