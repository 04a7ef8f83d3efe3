"""The words that pydantic's export lacks: what makes of it plain JSON Schema (draft 2020-12) for any validator.

It uses no `format` and no keyword of OpenAPI: a validator in its default settings passes over them, or stops at them
as ajv does. What JSON Schema can say of a value stands there as a pattern or a condition; what it cannot say is listed
in `tests/integration/contract/test_ajv.py`, with the reasons.
"""

from __future__ import annotations

from typing import Any, Final

from configdrive.contents.render import RESERVED

Schema = dict[str, Any]

_H: Final = "[0-9A-Fa-f]{1,4}"
_OCTET: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_V4: Final = rf"(?:{_OCTET}\.){{3}}{_OCTET}"


def _tail(most: int) -> str:
    """Up to `most` groups behind the `::` of an IPv6 address; the last two may be written as an IPv4 address."""
    words = rf"(?:{_H}:){{0,{most - 1}}}{_H}" if most else ""
    return rf"(?:{words}|(?:{_H}:){{0,{most - 2}}}{_V4})?" if most > 1 else f"(?:{words})?" if words else ""


_V6: Final = "(?:" + "|".join(
    (
        f"(?:{_H}:){{7}}{_H}",
        f"(?:{_H}:){{6}}{_V4}",
        *(f"{_H}(?::{_H}){{{groups - 1}}}::{_tail(7 - groups)}" for groups in range(1, 8)),
        f"::{_tail(7)}",
    )
) + ")"  # fmt: skip
_V4_NET: Final = rf"(?:0*(?:3[0-2]|[12]?[0-9])|{_V4})"
_V6_NET: Final = "0*(?:12[0-8]|1[01][0-9]|[1-9]?[0-9])"

PATTERNS: Final = {
    "date-time": r"^(?:19[89][0-9]|20[0-9]{2})-[01][0-9]-[0-3][0-9][Tt _]"
    r"[0-2][0-9]:[0-5][0-9](?::[0-5][0-9](?:[.,][0-9]+)?)?(?:[Zz]|[+-][0-2][0-9]:?[0-5][0-9])$",
    "ipvanyaddress": f"^(?:{_V4}|{_V6})$",
    "ipvanyinterface": f"^(?:{_V4}/{_V4_NET}|{_V6}/{_V6_NET})$",
    "ipvanynetwork": f"^(?:{_V4}(?:/{_V4_NET})?|{_V6}(?:/{_V6_NET})?)$",
}
"""Pydantic's formats -> what they and our own validators take."""


def given(field: str, kind: str, **more: object) -> Schema:
    """Return the condition that an object has a field that is not `null`, of the type `kind`."""
    return {"type": "object", "required": [field], "properties": {field: {"type": kind, **more}}}


def _any_case(key: str) -> str:
    return "".join("[-_]" if letter == "-" else f"[{letter}{letter.upper()}]" for letter in key)


_BEYOND_TYPES: Final[dict[str, Schema]] = {
    "Address": {
        "oneOf": [given("cidr", "string"), given("dhcp", "integer"), given("auto", "string")],
        "not": {
            "anyOf": [
                {"allOf": [given("cidr", "string", pattern=":"), given("gateway", "string", pattern="^[^:]*$")]},
                {"allOf": [given("cidr", "string", pattern="^[^:]*$"), given("gateway", "string", pattern=":")]},
                {"allOf": [given("dhcp", "integer"), given("gateway", "string")]},
            ]
        },
    },
    "Nic": {"not": {"allOf": [given("bond", "object"), given("vlan", "object")]}},
    "Metadata": {
        "properties": {
            "extra": {"propertyNames": {"not": {"pattern": f"^(?:{'|'.join(map(_any_case, sorted(RESERVED)))})$"}}}
        }
    },
}
"""Definition -> what `contents.networks` and `contents.render` refuse, as far as it is one value's form."""


def plain(schema: Schema) -> Schema:
    """Return an export without OpenAPI's `discriminator`, with patterns for formats and what types cannot say."""
    found: Schema = _plain(schema)
    for name, more in _BEYOND_TYPES.items():
        if name in found.get("$defs", {}):
            _merge(found["$defs"][name], more)
    return found


def _merge(schema: Schema, more: Schema) -> None:
    for key, value in more.items():
        if isinstance(schema.get(key), dict):
            _merge(schema[key], value)
        else:
            schema[key] = value


def _plain(part: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(part, list):
        return [_plain(item) for item in part]
    if not isinstance(part, dict):
        return part
    known = {name: _plain(value) for name, value in part.items() if name != "discriminator"}
    for pattern, values in known.pop("patternProperties", {}).items():  # as pydantic says it, others may be too
        known["additionalProperties"] = values
        known["propertyNames"] = {**known.get("propertyNames", {}), "pattern": pattern}
    if isinstance(written := part.get("format"), str):
        del known["format"]
        if written in PATTERNS:
            known["pattern"] = PATTERNS[written]
    return known
