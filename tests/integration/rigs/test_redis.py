from __future__ import annotations

from typing import TYPE_CHECKING

from rigs.redis import RedisServer
from tests.integration.rigs.conftest import gone
from tests.support import require_rig, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_it_dies_with_the_process_that_started_it(tmp_path: Path, killed_after: Callable[..., list[int]]) -> None:
    with require_rig():
        RedisServer(tmp_path)
    script = """
import pathlib, sys, threading, time
from rigs.redis import RedisServer
server = RedisServer(pathlib.Path(sys.argv[1]))
starter = threading.Thread(target=server.start)  # its end alone must not end the server
starter.start(); starter.join(); time.sleep(0.1)
print(server.pid if server.running else "ended with the thread", end="\\n\\n", flush=True)
time.sleep(60)
"""
    [pid] = killed_after(script, str(tmp_path / "redis"))
    wait_until(lambda: gone(pid), "the server's end", timeout=5)
