"""Builds the packages: `python -m deploy.packages DIRECTORY`."""

from __future__ import annotations

import argparse
from pathlib import Path

from deploy.packages.build import client_wheel, debian_package, wheel_and_sdist


def main() -> None:
    """Build all of them and say what was built."""
    parser = argparse.ArgumentParser(prog="make packages", description=__doc__)
    parser.add_argument("directory", type=Path, help="where they are put")
    directory: Path = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    wheel, sdist = wheel_and_sdist(directory)
    for path in (wheel, sdist, client_wheel(directory), debian_package(wheel, directory)):
        print(f"{path}  {path.stat().st_size / 2**20:.1f} MiB")  # noqa: T201  # its output


main()
