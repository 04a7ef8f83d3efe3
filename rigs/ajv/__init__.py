"""The validator ajv, as npm has it: what a reader of the published JSON Schema would take, and what not."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rigs.guest.packages import put_in_place
from rigs.process import RigError, RigUnavailable, cache_directory, find_program

if TYPE_CHECKING:
    from collections.abc import Sequence

_HERE = Path(__file__).parent
_PINNED = ("package.json", "package-lock.json")
_TIMEOUT = 300.0
"""Seconds for npm, which fetches five small packages."""


def takes(schema: dict[str, Any], documents: Sequence[object]) -> list[bool]:
    """Compile a schema, in strict mode and with default settings, and say of each document whether it is valid by it.

    Raises:
        RigUnavailable: Node.js or npm is missing, or npm cannot fetch the package.
        RigError: ajv does not compile the schema; with what it says.
    """
    node = find_program("node", "nodejs")
    done = subprocess.run(
        [node, str(_HERE / "validate.js")],
        input=json.dumps({"schema": schema, "documents": documents}),
        env={**os.environ, "NODE_PATH": str(_modules())},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RigError(f"ajv: {done.stderr}")
    answers: list[bool] = json.loads(done.stdout)
    return answers


def _modules() -> Path:
    cache = cache_directory("ajv")
    pinned = b"".join((_HERE / name).read_bytes() for name in _PINNED)
    target = cache / hashlib.sha256(pinned).hexdigest()[:12]
    if not target.exists():
        npm = find_program("npm", "npm")
        with tempfile.TemporaryDirectory(dir=cache, prefix="make-") as scratch:
            directory = Path(scratch) / "modules"
            directory.mkdir()
            for name in _PINNED:
                shutil.copy(_HERE / name, directory)
            argv = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
            if done.returncode:
                raise RigUnavailable(f"npm could not fetch ajv: {done.stderr[-500:]}")
            put_in_place(directory, target)
    return target / "node_modules"
