"""Lenience: what one bad value of a tenant's costs a drive is that value, for events that ask for it.

Left out may be a metadata value, an ssh key, or the whole network file when one NIC is bad: half a network is worse
than the guest's own way to find one. Never left out are what says which VM it is, user data and the password.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import ValidationError

from configdrive.contract.guest_data import GuestData
from configdrive.contract.validation import explain

_MOST: Final = 255
_NAMED: Final = 64
"""How many of them are named: the outcome has them all in one text."""
_EXTRA: Final = "extra"

Guest = Mapping[str, Any]
"""Guest data as it stands in an event's JSON."""


def without_bad(guest: Guest) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return guest data without the values that no drive can have, and which they were and why.

    What is said of them names the field and the rule, and nothing of the value.
    """
    kept, left = dict(guest), list[str]()
    metadata, keys = guest.get("metadata"), guest.get("ssh_keys")
    if isinstance(metadata, Mapping):
        kept["metadata"] = dict(_good_metadata(metadata, left))
    if isinstance(keys, list):
        kept["ssh_keys"] = _good_keys(keys, left)
    if guest.get("nics") is not None:
        problem = _problem({"nics": guest["nics"]})
        if problem is not None:
            kept["nics"] = None
            left.append(problem)
    named, more = left[:_NAMED], len(left) - _NAMED
    if more > 0:
        named.append(f"and {more} more")
    return kept, tuple(one[:_MOST] for one in named)


def _good_metadata(metadata: Guest, left: list[str]) -> Iterator[tuple[str, Any]]:
    for name, value in metadata.items():
        if name == _EXTRA and isinstance(value, Mapping):
            yield name, _good_extra(value, left)
            continue
        problem = _problem({"metadata": {name: value}})
        if problem is None:
            yield name, value
        else:
            left.append(problem)


def _good_extra(extra: Guest, left: list[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in extra.items():
        problem = _problem({"metadata": {_EXTRA: {name: value}}}) or _problem(
            {"metadata": {_EXTRA: {**kept, name: value}}}
        )
        if problem is None:
            kept[name] = value
        else:
            left.append(problem)
    return kept


def _good_keys(keys: list[Any], left: list[str]) -> list[Any]:
    """Keep each key that is one, and fits behind those before it; a plain one keeps the number in its name."""
    kept: list[Any] = []
    for number, key in enumerate(keys, 1):
        named = {"name": f"key-{number}", "key": key} if isinstance(key, str) else key
        problem = _problem({"ssh_keys": [named]}) or _problem({"ssh_keys": [*kept, named]})
        if problem is None:
            kept.append(named)
        else:
            left.append(problem.replace("ssh_keys.0", f"ssh_keys.{number - 1}", 1))
    return kept


def _problem(guest: Guest) -> str | None:
    try:
        GuestData.model_validate(guest)
    except ValidationError as error:
        return explain(error).detail.removeprefix("event: ")
    return None
