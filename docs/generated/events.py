"""The event contract, from the pydantic models of `contract.events` and `contract.guest_data`."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from pydantic import TypeAdapter

from configdrive import drive_data, model
from configdrive.contract import events, guest_data
from configdrive.contract.events import short_type
from docs.generated.source import annotated, docstrings_in, table

EVENTS: Final = (
    events.DeployEvent,
    events.StartEvent,
    events.StopEvent,
    events.MigrateEvent,
    events.PasswordResetEvent,
    events.UpdateEvent,
    events.DestroyEvent,
)
PARTS: Final[dict[str, tuple[type, ...]]] = {
    "Of every event": (events.VmField, events.NetworkOffering),
    "What goes on the drive": (
        guest_data.GuestData,
        drive_data.Metadata,
        guest_data.UserData,
        drive_data.SshKey,
        drive_data.Nic,
        drive_data.Address,
        drive_data.Route,
        drive_data.Bond,
        drive_data.Vlan,
    ),
}
_PARTS: Final = frozenset(part.__name__ for parts in PARTS.values() for part in parts)
_MODULES: Final = (
    "configdrive.model",
    "configdrive.drive_data",
    "configdrive.contract.fields",
    "configdrive.contract.guest_data",
)
_MEANINGS: Final = {
    name: meaning
    for module in (
        "configdrive.model",
        "configdrive.drive_data",
        "configdrive.contract.fields",
        "configdrive.contract.guest_data",
    )
    for name, meaning in docstrings_in(module).items()
}
_KNOWN: Final = (events, guest_data, drive_data, model)
_NAMES: Final = {
    "password": "string",
    "ipvanyaddress": "address",
    "ipvanyinterface": "address/prefix",
    "ipvanynetwork": "network/prefix",
    "date-time": "time",
}
_BOUNDS: Final = {
    "pattern": "`{}`",
    "minLength": "from {}",
    "maxLength": "up to {} characters",
    "minimum": "from {}",
    "maximum": "up to {}",
    "maxItems": "at most {}",
    "maxProperties": "at most {}",
}


def markdown() -> str:
    """Return the envelope, a section for each event, and what they are made of."""
    text = ["## Envelope", _fields(events.Event)]
    text += ["## Data of every event", _sentence(events.EventData), _fields(events.EventData)]
    text += ["## Data of events that say what is on the drive", _sentence(events.GuestEventData)]
    text += [_fields(events.GuestEventData), "## Events"]
    for event in EVENTS:
        text += [_event(event)]
    for title, parts in PARTS.items():
        text += [f"## {title}"]
        for part in parts:
            text += [f"### `{part.__name__}`", _sentence(part), _fields(part)]
    return "\n\n".join(text)


def _event(event: type[events.Event]) -> str:
    kind = str(event.model_fields["type"].default)
    data = _model(event.model_fields["data"].annotation)
    content = ""
    if issubclass(data, events.GuestEventData):
        content = "Its data may say [what is on the drive](#data-of-events-that-say-what-is-on-the-drive)."
    own = _fields(data) if annotated(data) else ""
    text = (f"### `{short_type(kind)}`", f"`{kind}`. {_sentence(event)}", content, _sentence(data) if own else "", own)
    return "\n\n".join(part for part in text if part)


def _model(found: object) -> type[events.EventData]:
    if not (isinstance(found, type) and issubclass(found, events.EventData)):
        raise TypeError(found)
    return found


def _sentence(model: type) -> str:
    return " ".join((model.__doc__ or "").split())


def _fields(part: type) -> str:
    schema = TypeAdapter(part).json_schema()
    rows = []
    for name, written in annotated(part).items():
        if name in {"model_config", "data"} or name.startswith("_"):
            continue
        found = schema["properties"][name]
        needed = "required" if name in schema.get("required", ()) else _default(found)
        rows.append([f"`{name}`", _type(found, schema.get("$defs", {})), needed, _meaning(written)])
    return table(("field", "type", "", "meaning"), rows)


def _default(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    return "" if default in (None, [], {}) else f"default `{json.dumps(default)}`"


def _meaning(annotation: str) -> str:
    """Return what the code says of the type that a field is annotated with."""
    for name in re.findall(r"\w+", annotation):
        known = next((found for module in _KNOWN if (found := getattr(module, name, None))), None)
        if name in _MEANINGS:
            return _MEANINGS[name]
        if isinstance(known, type) and known.__module__.startswith("configdrive."):
            return _sentence(known)
    return ""


def _type(schema: dict[str, Any], defined: dict[str, Any]) -> str:
    match schema:
        case {"$ref": str(ref)}:
            name = ref.rpartition("/")[2]
            shown = f"[{name}](#{name.lower()})" if name in _PARTS else _type(defined[name], defined)
        case {"anyOf": list(choices)}:
            shown = " or ".join(dict.fromkeys(_type(one, defined) for one in choices if one != {"type": "null"}))
        case {"const": value} | {"enum": [value]}:
            shown = f"`{value}`"
        case {"enum": list(values)}:
            shown = ", ".join(f"`{value}`" for value in values)
        case {"type": "array", "items": dict(items)}:
            shown = f"list of {_type(items, defined)}"
        case {"type": "object", "additionalProperties": dict(values)}:
            shown = f"object of {_type(values, defined)}"
        case _:
            kind = str(schema.get("format") or schema.get("type") or "")
            shown = _NAMES.get(kind, kind)
    found = [form.format(schema[key]) for key, form in _BOUNDS.items() if key in schema]
    return f"{shown} ({', '.join(found)})".replace("|", r"\|") if found else shown
