"""What can be found wrong, and how the content of an image is looked at."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from configdrive.model import UUID_PATTERN
from tests.e2e.known_secrets import PASSWORD, USER_DATA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.model import Content
    from tests.chaos.plan import Life

_UUID = UUID_PATTERN.encode()
_PASSWORD = re.compile(re.escape(PASSWORD.encode()) + rb"\." + _UUID + rb"\.\d+\.")
_USER_DATA = re.compile(re.escape(USER_DATA.encode()) + rb"# " + _UUID + rb"\.\d+\.\n")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something is as it must not be.

    Args:
        check: which of the checks has found it.
        what: in words.
        vm: whose life it is about, by its number.
        step: and where in it.
    """

    check: str
    what: str
    vm: int | None = None
    step: str = ""


def unlike(image: bytes, wanted: Content | None, life: Life) -> Iterator[str]:
    """Say how an image differs from what shall be on it. Its bytes are searched as they are: nothing may hide there."""
    if wanted is None:
        yield "what nobody asked for"
        return
    for name, pattern, value in (
        ("password", _PASSWORD, wanted.password),
        ("user data", _USER_DATA, wanted.user_data),
    ):
        found = set(pattern.findall(image))
        expected = set() if value is None else {value.encode()}
        if found != expected:
            yield f"the {name} {sorted(found)}, not {sorted(expected)}"
    if f'"uuid": "{life.uuid}"'.encode() not in image and f'"uuid":"{life.uuid}"'.encode() not in image:
        yield "another VM's meta data"
