"""The validator ajv, as npm has it: what a reader of the published JSON Schema would take, and what not."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rigs import npm
from rigs.process import RigError, find_program

_HERE = Path(__file__).parent


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
        env={**os.environ, "NODE_PATH": str(npm.modules(_HERE))},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RigError(f"ajv: {done.stderr}")
    answers: list[bool] = json.loads(done.stdout)
    return answers
