"""A real browser without a window: what a page looks like once its scripts have run."""

from __future__ import annotations

import html
import re
import subprocess
from typing import TYPE_CHECKING

from rigs.process import RigError, find_program

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = PACKAGE = "chromium-headless-shell"
_SCRIPTS_MILLISECONDS = 4000
_SECONDS = 60

_TAG = re.compile(r"<(script|style|svg)\b.*?</\1>|<[^>]*>", re.DOTALL)
_WITHIN_A_WORD = re.compile(r"</?(span|wbr)\b[^>]*>")


class Browser:
    """Chromium, started anew for each page.

    Args:
        directory: for its profile; must exist.

    Raises:
        RigUnavailable: it is not installed.
    """

    def __init__(self, directory: Path) -> None:
        self._argv = [
            find_program(PROGRAM, PACKAGE),
            "--no-sandbox",  # root has none; the pages are our own
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            f"--user-data-dir={directory / 'profile'}",
            f"--virtual-time-budget={_SCRIPTS_MILLISECONDS}",
        ]

    def text(self, url: str) -> str:
        """Return what a page says, its words separated by one blank.

        Raises:
            RigError: the browser failed.
        """
        return " ".join(html.unescape(_TAG.sub(" ", _WITHIN_A_WORD.sub("", self.source(url)))).split())

    def source(self, url: str) -> str:
        """Return a page's HTML as the scripts have left it.

        Raises:
            RigError: the browser failed.
        """
        return self._run("--dump-dom", url)

    def picture(self, url: str, path: Path, size: tuple[int, int]) -> None:
        """Write a PNG of a page.

        Raises:
            RigError: the browser failed.
        """
        width, height = size
        self._run(f"--screenshot={path}", f"--window-size={width},{height}", url)

    def _run(self, *arguments: str) -> str:
        done = subprocess.run([*self._argv, *arguments], capture_output=True, text=True, check=False, timeout=_SECONDS)
        if done.returncode:
            raise RigError(f"{PROGRAM} ended with {done.returncode}: {done.stderr[-500:]}")
        return done.stdout
