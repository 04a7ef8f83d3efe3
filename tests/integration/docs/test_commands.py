"""Every command of the documentation that does not say what else it needs is run, in the order of its page."""

import subprocess
from pathlib import Path
from typing import Final

import pytest

from docs.blocks import PAGES, ROOT, RUN, Block, Run, blocks_of, pages
from tests.integration.docs.session import SECONDS, Session, matches, namespace, run
from tests.support import find_program, require, require_rig

TUTORIAL: Final = PAGES / "tutorial" / "first-drive.md"
FLEET: Final = """\
mkdir -p ~/.config/configdrive ~/.ssh
cat >~/.config/configdrive/inventory.toml <<EOF
[simulated]
directory = "$HOME/simulated"
auto_define = true
[simulated.hosts.host-01]
storages = { primary = {} }
[simulated.hosts.host-02]
storages = { primary = {} }
EOF
echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF3yIoku9him3v+bRwHFcxoR6h/u63XjgYMjcdnjS2PO alice' >~/.ssh/id_ed25519.pub
printf '#!/bin/sh\\necho hello\\n' >hello.sh
redis-server --save '' --appendonly no >redis.log 2>&1 &
says redis.log 'Ready to accept connections'
configdrive worker --hypervisor simulated --pool solo >worker.log 2>&1 &
says worker.log ' ready.'
"""
"""What a page begins with, as its reader has it from the tutorial: Redis, two simulated hosts, a worker, two files."""


def is_run(block: Block) -> bool:
    return block.language in RUN and isinstance(block.mark, Run)


def pages_with_commands() -> list[Path]:
    return [page for page in pages() if any(map(is_run, blocks_of(page)))]


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Session]:
    """Run the tutorial on an empty machine, and all other pages on one that has what the tutorial has made."""
    with require_rig():
        for name, package in {"redis-server": "redis-server", "ip": "iproute2"}.items():
            find_program(name, package)
        allowed = subprocess.run([*namespace(), "true"], capture_output=True, check=False).returncode == 0
    require(allowed, "namespaces of one's own: be root, or allow user namespaces")
    commands = {page: [block for block in blocks_of(page) if is_run(block)] for page in pages_with_commands()}
    (tutorial,) = run([commands.pop(TUTORIAL)], tmp_path_factory.mktemp("tutorial"))
    others = run(list(commands.values()), tmp_path_factory.mktemp("pages"), before=FLEET)
    return {TUTORIAL: tutorial, **dict(zip(commands, others, strict=True))}


@pytest.mark.timeout(2 * SECONDS)  # the first one runs all
@pytest.mark.parametrize("page", pages_with_commands(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_the_page_do_what_it_says(page: Path, sessions: dict[Path, Session]) -> None:
    session = sessions[page]
    session.assert_went_well()
    for shown in (block for block in blocks_of(page) if block.is_output):
        before = [number for number, block in enumerate(session.blocks) if block.line < shown.line][-1]
        assert matches(shown.text, session.printed(before)), f"{shown.place}: it was\n{session.printed(before)}"


def test_there_are_pages_with_commands() -> None:
    assert TUTORIAL in pages_with_commands()
    assert len(pages_with_commands()) > 5


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("b …\nc", "a\nb 12 x  \nc\nd", True),
        ("b\nd", "a\nb\nc\nd", False),
        ("a.b", "axb", False),
    ],
)
def test_what_a_page_shows_is_compared_line_by_line(shown: str, printed: str, same: bool) -> None:  # noqa: FBT001
    assert matches(shown, printed) is same
