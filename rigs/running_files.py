"""The files of a fleet that runs: any of them, and any folder, may go between its listing and its reading."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path


def read_files(paths: Iterable[Path]) -> Iterator[tuple[Path, bytes]]:
    """Yield each file with its bytes; what has gone meanwhile is left out."""
    for path in paths:
        try:
            yield path, path.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue


def read_files_below(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Yield each regular file of a tree with its bytes, as `read_files` does."""
    for parent, _, names in os.walk(folder):
        yield from read_files(path for name in names if (path := Path(parent) / name).is_file())
