"""The distributions that a package has inside: taken from `.venv`, where each was checked by its hash."""

from __future__ import annotations

import shutil
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class MissingDistributionError(Exception):
    """`.venv` lacks what a package needs; the message says what."""


def closure(requirements: Iterable[str]) -> list[Distribution]:
    """Return the distributions that fulfil some requirements, with all that they need here.

    Raises:
        MissingDistributionError: one is not installed.
    """
    found: dict[str, Distribution] = {}
    seen: set[str] = set()
    waiting = list(requirements)
    while waiting:
        wanted = Requirement(waiting.pop())
        if str(wanted) in seen:
            continue
        seen.add(str(wanted))
        try:
            one = distribution(wanted.name)
        except PackageNotFoundError:
            raise MissingDistributionError(f"{wanted.name} is not in .venv: run `make setup`") from None
        found[canonicalize_name(wanted.name)] = one
        for line in one.requires or ():
            needed = Requirement(line)
            if any(_holds(needed, extra) for extra in {"", *wanted.extras}):
                needed.marker = None
                waiting.append(str(needed))
    return [found[name] for name in sorted(found)]


def _holds(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def copy(distributions: Iterable[Distribution], target: Path) -> None:
    """Copy the files of distributions into a directory of packages: no scripts, no bytecode."""
    for one in distributions:
        for file in one.files or ():
            if ".." in file.parts or "__pycache__" in file.parts or file.name in {"INSTALLER", "REQUESTED"}:
                continue
            made = target / file
            made.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(one.locate_file(file), made)  # type: ignore[arg-type]  # a path, here
