"""The distributions that a package has inside: taken from `.venv`, where each was checked by its hash.

`.venv` may be of a Python whose patch version is another than that of the system's, and so may lack what only that one
needs (redis asks for `async-timeout` before Python 3.11.3, and Debian 12 has 3.11.2): this alone is fetched.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class MissingDistributionError(Exception):
    """`.venv` lacks what a package needs; the message says what."""


@dataclass(frozen=True, slots=True)
class Inside:
    """What fulfils some requirements: distributions of `.venv`, and names of those that only another Python needs."""

    distributions: list[Distribution]
    missing: list[str]


def closure(requirements: Iterable[str], python: str | None = None) -> Inside:
    """Return what fulfils some requirements, with all that it needs, for a Python of a version such as `3.11.2`."""
    found: dict[str, Distribution] = {}
    missing: set[str] = set()
    seen: set[str] = set()
    waiting = list(requirements)
    version = {} if python is None else {"python_full_version": python}
    while waiting:
        wanted = Requirement(waiting.pop())
        if str(wanted) in seen:
            continue
        seen.add(str(wanted))
        name = canonicalize_name(wanted.name)
        try:
            one = distribution(wanted.name)
        except PackageNotFoundError:
            missing.add(name)
            continue
        found[name] = one
        for line in one.requires or ():
            needed = Requirement(line)
            if any(_holds(needed, {**version, "extra": extra}) for extra in {"", *wanted.extras}):
                needed.marker = None
                waiting.append(str(needed))
    return Inside([found[name] for name in sorted(found)], sorted(missing))


def _holds(requirement: Requirement, environment: dict[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(environment)


def fetch(names: Iterable[str], constraints: Path, target: Path) -> None:
    """Install distributions that `.venv` has no use for into a directory of packages, each checked by its hash.

    Raises:
        MissingDistributionError: one is not pinned, or cannot be had.
    """
    for name in names:
        lines = rf"^({re.escape(name)}==[^\s;]+)[^\n]*((?:\n    --hash=\S+(?: \\)?)+)"
        pinned = re.search(lines, constraints.read_text(), re.MULTILINE)
        if pinned is None:
            raise MissingDistributionError(f"{name} is not in .venv: run `make setup`")
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write(f"{pinned[1]} \\{pinned[2]}\n")
            file.flush()
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
            words = ["--require-hashes", "--no-compile", "--target", str(target), "--requirement", file.name]
            done = subprocess.run([*pip, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise MissingDistributionError(f"{name} could not be fetched: {done.stderr.strip()[-500:]}")


def copy(distributions: Iterable[Distribution], target: Path) -> None:
    """Copy the files of distributions into a directory of packages: no scripts, no bytecode."""
    for one in distributions:
        for file in one.files or ():
            if ".." in file.parts or "__pycache__" in file.parts or file.name in {"INSTALLER", "REQUESTED"}:
                continue
            made = target / file
            made.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(one.locate_file(file), made)  # type: ignore[arg-type]  # a path, here
