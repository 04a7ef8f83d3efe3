"""The bounded field types that the event contract is made of: one place for every length, pattern and character rule."""

from __future__ import annotations

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from configdrive.labels import label_problem

MAX_SEQUENCE = 2**53 - 1
"""The largest integer that every JSON reader keeps exact (RFC 8259, section 6)."""


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _one_line(value: str) -> str:
    if any(unicodedata.category(character) in {"Cc", "Zl", "Zp", "Cs"} for character in value):
        code = "control_character"
        raise PydanticCustomError(code, "has a control character or a line break; give one line of printable text")
    return value


def _no_path(value: str) -> str:
    if "/" in value or "\\" in value or value in {".", ".."}:
        code = "path_part"
        raise PydanticCustomError(code, "must be a plain name, without '/', '\\' or '..'")
    return value


def _label(value: str) -> str:
    problem = label_problem(value)
    if problem is not None:
        code = "label"
        raise PydanticCustomError(code, "{problem}", {"problem": problem})
    return value


def _no_nul(value: str) -> str:
    if "\x00" in value:
        code = "control_character"
        raise PydanticCustomError(code, "has a NUL character; remove it")
    return value


OneLine = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_one_line)]
"""One line of printable text."""

MultiLine = Annotated[str, StringConstraints(max_length=65_536), AfterValidator(_no_nul)]
"""Text of up to 64 Ki characters, without NUL."""

EventIdField = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@+=~-]{0,127}$")]
"""CloudEvents `id`: also the Celery task id and a part of a Flower address, hence no slash or space."""

UuidField = Annotated[
    str,
    BeforeValidator(_lower),
    StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"),
]
"""A uuid in its usual form; taken in either case, kept in lower case."""

InstanceNameField = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""A VM's name on its hypervisor; part of a file name, hence narrow."""

HypervisorField = Annotated[str, BeforeValidator(_lower), StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
HostField = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
ZoneField = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
"""Part of a queue name: lower case letters, digits and hyphens."""

StorageField = Annotated[
    str,
    StringConstraints(min_length=1, max_length=255),
    AfterValidator(_one_line),
    AfterValidator(_no_path),
]
"""A storage pool's, SR's or datastore's name; spaces and brackets are usual there, path parts are not."""

SequenceField = Annotated[int, Field(ge=0, le=MAX_SEQUENCE, strict=True)]
"""The VM's event counter, kept by the orchestrator: every later event of the same VM has a larger one."""

LabelField = Annotated[str, AfterValidator(_label)]
"""A volume label (`configdrive.labels`)."""

ExtraKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
"""The name of an extra metadata entry, which becomes a file name."""

MacField = Annotated[str, BeforeValidator(_lower), StringConstraints(pattern=r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$")]
