"""A shell at a terminal, with somebody there who answers its questions for a password."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rigs import reaper
from rigs.process import find_program

PASSWORD: Final = "Hunter2-of-the-guide"
_PROMPT: Final = b": "
_SECONDS: Final = 300
_KEY: Final = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF3yIoku9him3v+bRwHFcxoR6h/u63XjgYMjcdnjS2PO alice@example"


def furnish(home: Path) -> None:
    """Make what the documentation's guides take for granted: the script `hello.sh`, and a public key."""
    (home / ".ssh").mkdir(parents=True)
    (home / "hello.sh").write_text("#!/bin/sh\necho hello\n", "utf-8")
    (home / ".ssh" / "id_ed25519.pub").write_text(f"{_KEY}\n", "utf-8")


def type_in(script: str, home: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """Run a script with this environment and no other; returns its exit code, and what stood on the screen.

    Raises:
        RigUnavailable: `setsid` (util-linux) is missing.
    """
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    ours, its = os.openpty()
    shell = ["timeout", str(_SECONDS), "bash", "-eux", "-c", script]
    with subprocess.Popen(
        [find_program("setsid", "util-linux"), "--ctty", "--wait", *shell],
        cwd=home,
        env=reaper.marked({"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", **environment}),
        stdin=its,
        stdout=its,
        stderr=its,
    ) as process:
        os.close(its)
        screen = b""
        while chunk := _read(ours):
            screen += chunk
            if screen.endswith(_PROMPT):
                os.write(ours, f"{PASSWORD}\n".encode())
        code = process.wait()
    os.close(ours)
    return code, screen.decode("utf-8", "replace")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux says so when nobody has the other end open any more
        return b""
