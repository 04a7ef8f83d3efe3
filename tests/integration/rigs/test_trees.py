import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import require

ROOT = Path(__file__).resolve().parents[3]

# In a mount namespace of its own: a directory of somebody else's is mounted in the tree, which is then removed.
REMOVE = """
import os, subprocess, sys
from pathlib import Path
from rigs.process import RigError
from rigs.trees import remove_tree
others, root, busy = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
point = root / "a place" / "proc"
point.mkdir(parents=True)
subprocess.run(["mount", "--bind", others, point], check=True)
if busy:
    os.chdir(point)
try:
    remove_tree(root)
except RigError as error:
    print(error)
"""


@pytest.mark.parametrize("busy", ["", "busy"])
def test_a_tree_is_removed_without_what_is_mounted_in_it_and_not_at_all_while_that_is_in_use(
    tmp_path: Path, busy: str
) -> None:
    require(os.geteuid() == 0, "mounting needs root")
    others, root = tmp_path / "others", tmp_path / "tree"
    others.mkdir()
    (others / "theirs").touch()
    argv: list[str | Path] = ["unshare", "--mount", sys.executable, "-c", REMOVE, others, root, busy]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ("still mounted at" in done.stdout, root.exists()) == (bool(busy), bool(busy))
    assert (others / "theirs").exists()
