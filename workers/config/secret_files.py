"""Secrets that stand in files: read once, at the start, and only when nobody else can."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from configdrive.errors import PermanentCode, PermanentError

_OTHERS = 0o007


def read_secret(path: Path | None, setting: str) -> str:
    """Return a file's text. A group may read it, as secrets are mounted into containers; others may not.

    Raises:
        PermanentError: `MISCONFIGURED`; names the setting and the remedy, and nothing of what stands there.
    """
    if path is None:
        raise PermanentError(PermanentCode.MISCONFIGURED, f"{setting}: is not set", "name the file that has it")
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read().decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        detail = f"{setting}: {path} cannot be read ({type(error).__name__})"
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, "correct its path and permissions") from None
    if mode & _OTHERS:
        detail = f"{setting}: {path} can be read by others (mode {mode:04o})"
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, f"chmod 600 {path}")
    if not content:
        raise PermanentError(PermanentCode.MISCONFIGURED, f"{setting}: {path} is empty", "write the secret into it")
    return content
