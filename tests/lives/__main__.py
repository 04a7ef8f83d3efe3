"""`make lives`: so many lives from a seed, each of which must go as it must."""

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

from rigs import reaper
from rigs.redis import RedisServer
from tests.lives.machine import run_lives

AT_ONCE = 250
"""Lives that one seed makes: a finding is repeated within a minute."""


def main() -> int:
    """Let them be lived, and say how many were; the first that does not go as it must ends it, with its seed."""
    parser = argparse.ArgumentParser(prog="make lives", description=__doc__)
    parser.add_argument("--lives", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=1, help=f"of the first {AT_ONCE}")
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)  # what goes wrong is meant to
    reaper.watch_over()
    began, lived, seed = time.monotonic(), 0, chosen.seed
    with (
        tempfile.TemporaryDirectory(prefix="cd-lives-") as directory,
        RedisServer(Path(directory), appendonly=False) as server,
    ):
        while lived < chosen.lives:
            count = min(AT_ONCE, chosen.lives - lived)
            sys.stdout.write(f"seed {seed}: {count} lives\n")
            sys.stdout.flush()
            run_lives(server.url, count, seed)
            lived, seed = lived + count, seed + 1
    sys.stdout.write(f"{lived} lives, all as they must be, in {time.monotonic() - began:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
