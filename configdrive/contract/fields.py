"""The bounded field types that the event contract is made of: every length, pattern and character rule."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    IPvAnyAddress,
    IPvAnyInterface,
    IPvAnyNetwork,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from configdrive.contents.render import MAX_EXTRA_KEY
from configdrive.model import LABEL_PATTERN, label_problem

MAX_SEQUENCE = 2**53 - 1
"""The largest integer that every JSON reader keeps exact (RFC 8259, section 6)."""

_YEARS = range(1980, 2100)


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


def _written_out(value: object) -> object:
    """Refuse what `ipaddress` takes besides addresses: numbers (1 would be 0.0.0.1), and scopes, which it may drop."""
    if isinstance(value, (int, bytes, list)) or (isinstance(value, str) and "%" in value):
        code = "ip_address"
        raise PydanticCustomError(code, "is no plain address; write it like 192.0.2.7 or 2001:db8::7, without a scope")
    return value


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _in_iso_years(value: datetime) -> datetime:
    if value.year not in _YEARS:
        code = "time"
        raise PydanticCustomError(code, "must lie between 1980 and 2099")
    return value


OneLine = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_one_line)]
"""One line of printable text."""

MultiLine = Annotated[str, StringConstraints(max_length=65_536), AfterValidator(_no_nul)]
"""Text of up to 64 Ki characters, without NUL."""

EventIdField = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@+=~-]{0,127}$")]
"""CloudEvents `id`: also the Celery task id and a part of a Flower address, hence no slash or space."""

UuidField = Annotated[
    str, StringConstraints(pattern=r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$", to_lower=True)
]
"""A uuid in its usual form; taken in either case, kept in lower case."""

InstanceNameField = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""A VM's name on its hypervisor; part of a file name, hence narrow."""

HypervisorField = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,31}$", to_lower=True)]
"""A driver's name, kept in lower case; part of a queue name."""

HostField = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
"""A host's, pool's or vCenter's name in the inventory."""

SealedField = Annotated[str, StringConstraints(pattern=r"^v1\.[0-9a-f]{16}\.[A-Za-z0-9_-]+={0,2}$")]
"""A box: `v1`, the id of the key that it was sealed for, and base64url of a libsodium sealed box."""

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

LabelField = Annotated[str, AfterValidator(_label), WithJsonSchema({"type": "string", "pattern": f"^{LABEL_PATTERN}$"})]
"""A volume label (`configdrive.labels`)."""

ExtraKey = Annotated[str, StringConstraints(pattern=rf"^[A-Za-z0-9._-]{{1,{MAX_EXTRA_KEY}}}$")]
"""The name of an extra metadata entry, which becomes a file name."""

MacField = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$", to_lower=True)]
"""A MAC address with colons; kept in lower case."""

IpField = Annotated[IPvAnyAddress, BeforeValidator(_written_out)]
"""An IPv4 or IPv6 address."""

InterfaceField = Annotated[IPvAnyInterface, BeforeValidator(_written_out)]
"""An address with the prefix length (or netmask) of its network."""

NetworkField = Annotated[IPvAnyNetwork, BeforeValidator(_written_out)]
"""A network: its first address, and its prefix length (or netmask)."""

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
