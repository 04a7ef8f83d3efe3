"""The documentation, built once."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support import find_program, require_rig

ROOT: Final = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="package")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of the HTML pages; fails when the build has anything to say."""
    with require_rig():
        find_program("dot", "graphviz")
    target = tmp_path_factory.mktemp("documentation")
    done = subprocess.run(
        [sys.executable, "-m", "docs", str(target)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return target
