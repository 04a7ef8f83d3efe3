"""Flower's pages with a stylesheet and a script of ours, so that nothing on them is cut or goes sideways."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from tornado.template import DictLoader

_HEAD_ENDS: Final = "</head>"


def templates() -> DictLoader:
    """Return Flower's templates, each page with ours in its head.

    Raises:
        ValueError: this Flower's pages have no head.
    """
    here = files(__package__)
    shipped = {
        page.name: page.read_text("utf-8")
        for page in (files("flower") / "templates").iterdir()
        if page.name.endswith(".html")
    }
    style, script = (here.joinpath(f"flower_pages.{kind}").read_text("utf-8") for kind in ("css", "js"))
    before, head_ends, after = shipped["base.html"].partition(_HEAD_ENDS)
    if not head_ends:
        raise ValueError("Flower's base.html has no head")
    ours = f"<style>\n{style}</style>\n<script>\n{script}</script>\n"
    return DictLoader({**shipped, "base.html": f"{before}{ours}{head_ends}{after}"})
