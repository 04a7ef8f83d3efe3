"""The fleet itself for the demo: Redis, a worker and Flower as processes of their own, on free loopback ports."""

from __future__ import annotations

import base64
import contextlib
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from redis import Redis

from configdrive.client.publisher import Publisher
from demo.stage import Stage
from rigs.fleet import Fleet
from rigs.process import LOOPBACK, Daemon, free_port


@dataclass(frozen=True, slots=True)
class Services:
    """What the story and its reader need of the running fleet."""

    publisher: Publisher
    flower: str
    redis: Redis

    def readable_in_redis(self, secret: str) -> bool:
        """Whether any key's whole content has the text in it, plain or as base64."""
        wanted = (secret.encode(), base64.b64encode(secret.encode()).rstrip(b"="))
        self.redis.config_set("rdbcompression", "no")  # it would hide the text from the search, not from a reader
        dumps = (self.redis.dump(key) or b"" for key in self.redis.scan_iter())
        return any(text in dump for dump in dumps for text in wanted)


@contextlib.contextmanager
def services(stage: Stage, directory: Path) -> Iterator[Services]:
    """Start the fleet for a stage, and stop it at the end."""
    with contextlib.ExitStack() as stack:
        fleet = stack.enter_context(Fleet(directory / "fleet", stage.inventory(), hypervisor=stage.hypervisor))
        port = free_port()
        command = [str(Path(sys.executable).parent / "configdrive"), "flower", f"--port={port}"]
        flower = Daemon(command, directory / "flower.log", fleet.environment)
        flower.start()
        stack.callback(flower.stop)
        url = f"http://{LOOPBACK}:{port}"
        flower.wait_ready(lambda: _healthy(f"{url}/healthcheck"), timeout=30)
        client = stack.enter_context(contextlib.closing(fleet.redis.client()))
        yield Services(fleet.publisher, url, client)


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - our own loopback address
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False
