"""The bounded field types that the event contract is made of: every length, pattern and character rule."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from configdrive.drive_data import ONE_LINE_PATTERN, OneLine
from configdrive.model import LABEL_PATTERN, UUID_PATTERN, label_problem

MAX_SEQUENCE = 2**53 - 1
"""The largest integer that every JSON reader keeps exact (RFC 8259, section 6)."""

_YEARS = range(1980, 2100)


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


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _in_iso_years(value: datetime) -> datetime:
    if value.year not in _YEARS:
        code = "time"
        raise PydanticCustomError(code, "must lie between 1980 and 2099")
    return value


EventIdField = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@+=~-]{0,127}$")]
"""CloudEvents `id`: also the Celery task id and a part of a Flower address, hence no slash or space."""

UuidField = Annotated[str, StringConstraints(pattern=f"^{UUID_PATTERN.replace('a-f', 'A-Fa-f')}$", to_lower=True)]
"""A uuid in its usual form; taken in either case, kept in lower case."""

InstanceNameField = OneLine
"""A VM's name on its hypervisor, for people: a VM is known by its uuid."""

HypervisorField = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,31}$", to_lower=True)]
"""A driver's name, kept in lower case; part of a queue name."""

HostField = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
"""A host's, pool's or vCenter's name in the inventory."""

SealedField = Annotated[str, StringConstraints(pattern=r"^v1\.[0-9a-f]{16}\.[A-Za-z0-9_-]+={0,2}$")]
"""A sealed box: `v1`, the id of the key that it was sealed for, and base64url of a libsodium sealed box."""

ZoneField = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
"""Part of a queue name: lower case letters, digits and hyphens."""

StorageField = Annotated[
    OneLine,
    AfterValidator(_no_path),
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 1,
            "maxLength": 255,
            "pattern": r"^(?!\.{1,2}$)" + ONE_LINE_PATTERN[1:].replace("[^", r"[^/\\"),
        }
    ),
]
"""A storage pool's, SR's or datastore's name; spaces and brackets are usual there, path parts are not."""

SequenceField = Annotated[int, Field(ge=0, le=MAX_SEQUENCE, strict=True)]
"""The VM's event counter, kept by the orchestrator: every later event of the same VM has a larger one."""

LabelField = Annotated[str, AfterValidator(_label), WithJsonSchema({"type": "string", "pattern": f"^{LABEL_PATTERN}$"})]
"""A volume label (`configdrive.labels`)."""

Providers = Annotated[
    tuple[OneLine, ...],
    Field(max_length=16),
    BeforeValidator(
        _one_or_more, json_schema_input_type=OneLine | Annotated[tuple[OneLine, ...], Field(max_length=16)]
    ),
]
"""The provider of a service, or several."""

TimeField = Annotated[AwareDatetime, Field(strict=True), AfterValidator(_in_iso_years)]
"""RFC 3339, with an offset. It becomes the date of the image's files, which ISO 9660 does not have for every year."""

TraceParent = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")]
"""W3C Trace Context, carried as the CloudEvents extension of that name."""
