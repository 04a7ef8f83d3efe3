"""Flower as a process of its own, as an operator starts it: `configdrive flower`."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typing_extensions import override

from rigs.process import LOOPBACK, Daemon, DaemonRig, answers, free_port
from rigs.worker import CONFIGDRIVE


class Flower(DaemonRig):
    """Flower on a free loopback port.

    Args:
        directory: gets its log, `flower.log`; must exist.
        environment: the fleet's settings (`CONFIGDRIVE_…`).
    """

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self.url = f"http://{LOOPBACK}:{(port := free_port())}"
        self.log = directory / "flower.log"
        argv = [CONFIGDRIVE, "flower", f"--port={port}"]
        self._daemon = Daemon(argv, self.log, {**environment, "FLOWER_UNAUTHENTICATED_API": "true"})

    @override
    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            RigError: it ended at its start or did not answer within 30 s.
        """
        self._daemon.start()
        self._daemon.wait_ready(lambda: answers(f"{self.url}/healthcheck"), timeout=30)

    def get(self, path: str) -> bytes:
        """Return what a page holds.

        Raises:
            urllib.error.HTTPError: it answers with an error.
        """
        with urllib.request.urlopen(self.url + path, timeout=600) as answer:  # noqa: S310  # our own loopback address
            content: bytes = answer.read()
            return content

    def tasks(self) -> dict[str, dict[str, Any]]:
        """Return all rows by their task id."""
        found: dict[str, dict[str, Any]] = json.loads(self.get("/api/tasks?limit=10000"))
        return found

    def task_page(self, task_id: str) -> bytes:
        """Return the page of one task, as a browser gets it."""
        return self.get("/task/" + urllib.parse.quote(task_id))

    def state(self, task_id: str) -> str | None:
        """Return the state that the row of a task shows; `None` while there is no row."""
        row = self.tasks().get(task_id)
        return None if row is None else str(row["state"])
