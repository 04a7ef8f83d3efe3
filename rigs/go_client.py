"""The example publisher in Go (examples/go-client), made once and started like any program."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rigs import golang

EXAMPLES: Final = Path(__file__).parents[1] / "examples"


def build() -> Path:
    """Return the program.

    Raises:
        RigUnavailable: Go or its packages are missing.
        RigError: it does not compile; with what the compiler says.
    """
    return golang.build(
        "go-client",
        sorted((EXAMPLES / "go-client").glob("*.go")),
        needs="golang.org/x/crypto/nacl/box",
        package="golang-golang-x-crypto-dev",
    )


class GoClient:
    """The program, publishing to one fleet.

    Args:
        redis_url: of the fleet's Redis, with the login to use.
        public_key: the line of `configdrive keys public`.
    """

    def __init__(self, redis_url: str, public_key: str) -> None:
        self._program = build()
        self._environment = {"CONFIGDRIVE_REDIS_URL": redis_url, "CONFIGDRIVE_PUBLIC_KEY": public_key}
        self.said = ""
        """What it has written to standard error last."""
        self.code = 0
        """How it ended last."""

    def send(self, way: str, *events: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Publish events by `publish` or `call`; returns the outcomes that it printed."""
        done = subprocess.run(
            [str(self._program), way],
            input="".join(json.dumps(event) for event in events),
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        self.said, self.code = done.stderr, done.returncode
        return [json.loads(line) for line in done.stdout.splitlines()]
