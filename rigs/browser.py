"""A real browser without a window: what a page looks like once its scripts have run."""

import html
import json
import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from typing_extensions import override

from rigs.process import LOOPBACK, RigError, find_program

PROGRAM = PACKAGE = "chromium-headless-shell"
_SCRIPTS_MILLISECONDS = 4000
_SECONDS = 300
_LOOKS = Path(__file__).with_name("looks.html")

_TAG = re.compile(r"<(script|style|svg)\b.*?</\1>|<[^>]*>", re.DOTALL)
_WITHIN_A_WORD = re.compile(r"</?(span|wbr)\b[^>]*>")


@dataclass(frozen=True, slots=True)
class Misfit:
    """Something on a page that does not fit a window of a width: what is wrong with it, and which element it is."""

    page: str
    width: int
    what: str
    element: str


class Browser:
    """Chromium, started anew for each page.

    Args:
        directory: for its profile; must exist.

    Raises:
        RigUnavailable: it is not installed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._argv = [
            find_program(PROGRAM, PACKAGE),
            "--no-sandbox",  # root has none; the pages are our own
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            f"--user-data-dir={directory / 'profile'}",
            f"--virtual-time-budget={_SCRIPTS_MILLISECONDS}",
        ]

    def source(self, url: str) -> str:
        """Return a page's HTML as the scripts have left it.

        Raises:
            RigError: the browser failed.
        """
        return self._run("--dump-dom", url)

    def picture(self, url: str, path: Path, size: tuple[int, int], *, dark: bool = False) -> None:
        """Write a PNG of a page, for eyes that like it light or dark.

        Raises:
            RigError: the browser failed.
        """
        width, height = size
        scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
        self._run(f"--screenshot={path}", f"--window-size={width},{height}", scheme, url)

    def misfits(
        self, urls: Sequence[str], widths: Sequence[int], *, within: str, may_scroll: str = "none", settled: int = 0
    ) -> list[Misfit]:
        """Return what of these pages does not fit a window: text that is cut, goes sideways or is out of sight.

        Args:
            urls: the pages; each is loaded once.
            widths: of the window, in pixels.
            within: which elements are looked at, as a CSS selector.
            may_scroll: elements that may go sideways, with all that is in them.
            settled: ms after which a page's own scripts are done.

        Raises:
            RigError: the browser failed.
        """
        given = {"PAGES": list(urls), "WIDTHS": list(widths), "WITHIN": within, "MAY_SCROLL": may_scroll}
        constants = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in given.items())
        page = self._directory / "looks.html"
        text = _LOOKS.read_text("utf-8").replace("<script>\n", f"<script>\nconst SETTLED = {settled};\n{constants}", 1)
        page.write_text(text, "utf-8")
        budget = f"--virtual-time-budget={_SCRIPTS_MILLISECONDS + len(urls) * (1000 + settled + 100 * len(widths))}"
        # The frames are of other origins, a file each, or a server; the protocol must be the same all the same.
        open_ = ("--disable-web-security", "--disable-site-isolation-trials", "--allow-file-access-from-files")
        with nullcontext(page.as_uri()) if urls[0].startswith("file:") else _served(page) as url:
            source = self._run("--dump-dom", *open_, budget, url, seconds=_SECONDS + 5 * len(urls))
        answer = re.search(r'<pre id="found">(.+?)</pre>', source, re.DOTALL)
        if answer is None:
            raise RigError(f"{PROGRAM} did not come to the end of {len(urls)} pages")
        return [Misfit(**one) for one in json.loads(html.unescape(answer[1]))["found"]]

    def _run(self, *arguments: str, seconds: int = _SECONDS) -> str:
        done = subprocess.run([*self._argv, *arguments], capture_output=True, text=True, check=False, timeout=seconds)
        if done.returncode:
            raise RigError(f"{PROGRAM} ended with {done.returncode}: {done.stderr[-500:]}")
        return done.stdout


def words_of(source: str) -> str:
    """Return what a page says, its words separated by one blank."""
    return " ".join(html.unescape(_TAG.sub(" ", _WITHIN_A_WORD.sub("", source))).split())


@contextmanager
def _served(page: Path) -> Iterator[str]:
    """Serve a file's folder for a while; yields the file's address."""
    handler = partial(_Quiet, directory=str(page.parent))
    with ThreadingHTTPServer((LOOPBACK, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{LOOPBACK}:{server.server_address[1]}/{page.name}"
        finally:
            server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
