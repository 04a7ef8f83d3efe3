"""The commands of pages, run as their reader runs them: one shell for each page, from top to bottom.

They run on a machine of their own, a network and process namespace: Redis has its usual port there, and whatever a page
starts ends with it. Home is an empty directory, and each page begins in a new one below it, which has the checkout's
examples.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from docs.blocks import ROOT, Block, Run
from rigs import reaper
from rigs.process import RigError, cache_directory, find_program, tail
from tests.integration.docs import forks

SECONDS: Final = 900
"""For all pages; 30 on a machine that does nothing else."""
_READY_TENTHS: Final = 300
_FUNCTIONS: Final = f"""\
set -euo pipefail
ip link set lo up
says() {{ # until the file $1 has the words $2
  for ((n = 0; n < {_READY_TENTHS}; n++)); do
    if grep --quiet --no-messages --fixed-strings -- "$2" "$1"; then return; fi
    sleep 0.1
  done
  echo "waited for '$2'" >>"$1"
  return 1
}}
"""


@dataclass(frozen=True, slots=True)
class Session:
    """What became of one page's blocks.

    Args:
        blocks: those that are run, in order.
        directory: has what each of them printed, and the shell's exit code.
    """

    blocks: Sequence[Block]
    directory: Path

    def printed(self, number: int) -> str:
        """Return what a block has printed."""
        return _output(self.directory, number).read_text("utf-8", errors="replace")

    def assert_went_well(self) -> None:
        """Fail with the block that failed, and what it said."""
        code = tail(self.directory / "ended")
        begun = [number for number in range(len(self.blocks)) if _output(self.directory, number).exists()]
        if code != "0" or len(begun) != len(self.blocks):
            place = self.blocks[begun[-1]].place if begun else "what goes before"
            said = _output(self.directory, begun[-1]) if begun else self.directory.parent / "log"
            raise AssertionError(f"{place}: the shell ended with {code}:\n{tail(said)}")


def run(pages: Sequence[Sequence[Block]], directory: Path, *, before: str = "") -> list[Session]:
    """Run the blocks of several pages, one page after the other.

    `before` is a script that sets up what they begin with.

    Raises:
        RigUnavailable: something is not installed.
        RigError: it took too long.
    """
    home = directory / "home"
    home.mkdir(parents=True)
    script, log = directory / "pages.sh", directory / "log"
    parts = [_page(blocks, directory / str(number)) for number, blocks in enumerate(pages)]
    script.write_text("".join((_FUNCTIONS, before, *parts)), "utf-8")
    programs = directory / "programs"
    programs.mkdir()
    ours = (str(programs), str(Path(sys.executable).parent))
    environment = {
        "PATH": os.pathsep.join((*ours, os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin")),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "COLUMNS": "120",
        "GOCACHE": str(cache_directory("go-client") / "go"),  # a home that is new would have Go's own library compiled
    }
    with log.open("wb") as output:
        try:
            subprocess.run(
                [*namespace(), sys.executable, forks.__file__, str(script), str(programs)],
                cwd=home,
                env=reaper.marked(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise RigError(f"{script} took longer than {SECONDS} s:\n{tail(log)}") from None
    return [Session(blocks, directory / str(number)) for number, blocks in enumerate(pages)]


def namespace() -> list[str]:
    """Return the command that makes the machine.

    Raises:
        RigUnavailable: it is not installed.
    """
    unshare = [find_program("unshare", "util-linux"), "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return [*unshare, *(["--map-root-user"] if os.geteuid() else [])]


def _page(blocks: Sequence[Block], directory: Path) -> str:
    directory.mkdir()
    inside = "".join(_block(block, directory, number) for number, block in enumerate(blocks))
    name = directory.name
    return (
        f"mkdir {name}; cp hello.sh {name} 2>/dev/null || true; ln -s {shlex.quote(str(ROOT / 'examples'))} {name}\n"
        f"set +e\n(\nset -e; cd {name}\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"
        f"{inside})\necho $? >{shlex.quote(str(directory / 'ended'))}\nset -e\n"
    )


def _block(block: Block, directory: Path, number: int) -> str:
    output, mark, text = shlex.quote(str(_output(directory, number))), block.mark, block.text
    if block.language == "python":
        program = directory / f"{number}.py"
        program.write_text(text, "utf-8")
        text = f"python3 {shlex.quote(str(program))}\n"
    part = f"{{\n{text}}} >{output} 2>&1"
    if isinstance(mark, Run) and mark.background is not None:
        return f"{part} &\n" + (f"says {output} {shlex.quote(mark.background)}\n" if mark.background else "")
    return f"{part}\n"


def _output(directory: Path, number: int) -> Path:
    return directory / f"{number}.out"


def matches(shown: str, printed: str) -> bool:
    """Say whether the lines that a page shows stand in what was printed, one below the other; `…` is anything."""
    lines = [".*".join(map(re.escape, line.split("…"))) for line in shown.strip("\n").splitlines()]
    return re.search(r"^" + r"\n".join(f"{line}[ ]*" for line in lines) + r"$", printed, re.MULTILINE) is not None
