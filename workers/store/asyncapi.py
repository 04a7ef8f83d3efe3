"""The channels of the fleet as an AsyncAPI 3.1 document, with the schemas of events and outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import JsonValue, TypeAdapter

from configdrive import __version__
from configdrive.contract import events, outcome
from configdrive.contract.json_schema import plain
from tasks.mailbox import DeadLetter

if TYPE_CHECKING:
    from workers.store.scripts import FunctionLibrary

_REF = "#/components/schemas/{model}"
_HELD = "$defs"

_SEALED = (
    "Guest data is sealed: `data.sealed` is `v1.<key id>.<base64url>` of a libsodium sealed box, in which stand "
    "`<vm uuid>/<event id>`, a line feed and the JSON of `guest`."
)

_EXAMPLE_LETTER: dict[str, JsonValue] = {
    "at": 1773126781.25,
    "origin": "intake",
    "reason": "data.sequence: needs an integer",
    "event_id": "example-1",
    "vm_uuid": None,
    "source": "orchestrator/1",
}


def document(library: FunctionLibrary) -> dict[str, Any]:
    """Return the document of the fleet whose functions these are."""
    event, event_parts = _parted(events.json_schema(_REF))
    came_to, parts = _parted(outcome.json_schema(_REF))
    letter = TypeAdapter(DeadLetter).json_schema(ref_template=_REF)
    prefix = library.prefix
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "configdrive-fleet",
            "version": __version__,
            "description": "VM lifecycle events go in, outcomes come out, for every language that speaks Redis.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"redis": {"host": "127.0.0.1:6379", "protocol": "redis"}},
        "channels": {
            "intake": _channel(
                f"{prefix}intake",
                "event",
                "A list. LPUSH one event; it is taken within moments, and its outcome published.",
            ),
            "put": _channel(
                f"FCALL {library.put} 0",
                "event",
                "A function. Its answer is `accepted`, or, when the event is known, `duplicate` and `waiting` or "
                "`published`; an error says what is wrong, and nothing was stored. `time` must be given, and guest "
                "data be sealed.",
            ),
            "outcomes": _channel(
                f"{prefix}outcomes",
                "outcome",
                "A stream, each entry with the fields `event` (the key: 22 characters of the base64url of SHA-256 over "
                "source, line feed and id) and `outcome` (JSON). Note its end before an event is published, then "
                "XREAD BLOCK from there.",
            ),
            "dead": _channel(f"{prefix}dead", "deadLetter", "A list of what could not be taken, newest first."),
        },
        "operations": {
            "publish": _operation("receive", "intake", "event"),
            "put": _operation("receive", "put", "event"),
            "report": _operation("send", "outcomes", "outcome"),
            "deadLetter": _operation("send", "dead", "deadLetter"),
        },
        "components": {
            "messages": {
                "event": _message("event", "What has happened, or is about to, to a VM.", events.EXAMPLES, _SEALED),
                "outcome": _message(
                    "outcome", "What became of an event; all but `parked` are final.", outcome.EXAMPLES
                ),
                "deadLetter": _message(
                    "deadLetter", "Why something was no event. Never its content.", [_EXAMPLE_LETTER]
                ),
            },
            "schemas": {**event_parts, **parts, "event": event, "outcome": came_to, "deadLetter": plain(letter)},
        },
    }


def _channel(address: str, message: str, description: str) -> dict[str, Any]:
    return {
        "address": address,
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "description": description,
    }


def _operation(action: str, channel: str, message: str) -> dict[str, Any]:
    """Return what the fleet does: it receives events, and sends outcomes."""
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"}],
    }


def _message(name: str, summary: str, examples: list[JsonValue], description: str | None = None) -> dict[str, Any]:
    more = {} if description is None else {"description": description}
    return {
        "name": name,
        "summary": summary,
        "payload": {"$ref": f"#/components/schemas/{name}"},
        "examples": [{"payload": example} for example in examples],
        **more,
    }


def _parted(schema: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a schema and the definitions it refers to."""
    whole = dict(schema)
    parts = whole.pop(_HELD, {})
    for name in ("$schema", "$id", "examples"):
        whole.pop(name, None)
    return whole, parts
