"""The fenced blocks of the pages, and what the first line of a block of commands says about its being run.

A block of commands is begun by one of these lines:

    ```sh                               it is run by a test, after the blocks before it on the page
    ```sh background="Ready to"         as well, and goes on in a terminal of its own; others begin when it says this
    ```sh needs=kvm                     it needs what a test machine has not (`NEEDS`): its options alone are checked
    ```sh covered=tests/e2e/test_x.py   this test runs what it shows; the page says nothing of it

`python` stands in the place of `sh` for a program; programs in other languages need `needs` or `covered`. A block
```` ```text output ```` is what the commands before it print; `…` stands for anything.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from markdown_it import MarkdownIt

PAGES: Final = Path(__file__).parent
ROOT: Final = PAGES.parent

NEEDS: Final = {
    "kvm": "a KVM host",
    "xenserver": "a XenServer or XCP-ng pool",
    "vmware": "a vCenter or an ESXi host",
    "guest": "a shell in the guest",
    "windows": "a Windows guest",
    "root": "root, and changes the machine",
    "docker": "a Docker engine",
    "kubernetes": "a Kubernetes cluster",
    "index": "a package index",
    "terminal": "somebody at the terminal",
}
"""Why a block cannot be run by a test, and what the page says that it needs."""

RUN: Final = frozenset({"sh", "python"})
PROGRAMS: Final = RUN | {"javascript", "java", "go", "c", "powershell", "lua"}
DATA: Final = frozenset({"text", "toml", "json", "yaml", "ini", "xml", "http", "dot"})


class UnknownMarkError(ValueError):
    """A block begins with a line that nobody understands; the message says which."""


@dataclass(frozen=True, slots=True)
class Run:
    """A test runs it. `background`: it goes on, and the next block begins when it has printed this."""

    background: str | None = None


@dataclass(frozen=True, slots=True)
class Needs:
    """No test can run it, for one of the reasons in `NEEDS`."""

    reason: str


@dataclass(frozen=True, slots=True)
class Covered:
    """Another test runs what it shows; `test` is its path in the repository."""

    test: str


Mark: TypeAlias = Run | Needs | Covered


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its page and line, its language, what its first line says besides, and what it holds."""

    page: Path
    line: int
    language: str
    words: str
    text: str

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_output(self) -> bool:
        """Whether it is what the block before prints."""
        return (self.language, self.words) == ("text", "output")

    @property
    def mark(self) -> Mark:
        """What is said of its being run.

        Raises:
            UnknownMarkError: nothing that is known here.
        """
        try:
            return mark_of(self.language, self.words)
        except UnknownMarkError as error:
            raise UnknownMarkError(f"{self.place}: {error}") from None


def mark_of(language: str, words: str) -> Mark:
    """Read what the first line of a block of commands says behind its language.

    Raises:
        UnknownMarkError: nothing that is known here.
    """
    parts = shlex.split(words)
    name, _, value = parts[0].partition("=") if len(parts) == 1 else ("", "", "")
    match name:
        case "needs" if value in NEEDS:
            return Needs(value)
        case "covered" if (ROOT / value).is_file():
            return Covered(value)
        case "background" if language == "sh":
            return Run(background=value)
        case _ if not words and language in RUN:
            return Run()
    said = f"{language} {words}".strip()
    raise UnknownMarkError(
        f"'{said}' says not whether a test runs it: nothing (sh, python), background=WORDS (sh), covered=TEST, "
        f"or needs= one of {', '.join(NEEDS)}"
    )


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, directives of Sphinx left out."""
    found = []
    for token in MarkdownIt("commonmark").parse(page.read_text("utf-8")):
        if token.type != "fence" or token.map is None or token.info.startswith("{"):
            continue
        language, _, words = token.info.strip().partition(" ")
        found.append(Block(page, token.map[0] + 1, language, words.strip(), token.content))
    return found


def commands_for(test: str, page: Path) -> list[str]:
    """Return the blocks of a page that say that this test file runs them: how it takes its commands from there."""
    mine = Covered(str(Path(test).relative_to(ROOT)))
    return [block.text for block in blocks_of(page) if block.language == "sh" and block.mark == mine]


def pages() -> list[Path]:
    """Return all pages, and those at the top of the repository that show commands too."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(PAGES.rglob("*.md"))]
