"""The AsyncAPI document: valid by AsyncAPI's own schema, and no other contract than the one that events are read by."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from configdrive.contract import events, outcome
from configdrive.contract.outcome import Outcome, Status
from workers.store.asyncapi import document
from workers.store.scripts import FunctionLibrary

SPECIFICATION = json.loads((Path(__file__).parents[3] / "data/asyncapi/3.1.0.json").read_text())
LIBRARY = FunctionLibrary("mine:", ("kvm",))


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(document(LIBRARY)))
    return found


def test_it_is_what_asyncapi_asks_for(described: dict[str, Any]) -> None:
    validator = Draft7Validator(SPECIFICATION)
    assert [error.message for error in validator.iter_errors(described)] == []
    described_wrong = {**described, "operations": {"publish": {**described["operations"]["publish"], "action": "x"}}}
    assert not validator.is_valid(described_wrong)


def test_the_examples_of_its_messages_are_valid_by_their_schemas(described: dict[str, Any]) -> None:
    found = {name: message.get("examples", []) for name, message in described["components"]["messages"].items()}
    assert {name: len(examples) for name, examples in found.items()} == {"event": 7, "outcome": 2, "deadLetter": 1}
    for name, examples in found.items():
        schema = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
        for example in examples:
            assert [error.message for error in Draft202012Validator(schema).iter_errors(example["payload"])] == []


def references(part: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    if isinstance(part, dict):
        for name, value in part.items():
            if name == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(part, list):
        for item in part:
            yield from references(item)


def test_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    found = set(references(described))
    assert len(found) > 20
    for reference in found:
        part = described
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]


def test_its_channels_are_those_of_the_fleet(described: dict[str, Any]) -> None:
    assert {name: channel["address"] for name, channel in described["channels"].items()} == {
        "intake": "mine:intake",
        "put": f"FCALL {LIBRARY.put} 0",
        "outcomes": "mine:outcomes",
        "dead": "mine:dead",
    }


@pytest.mark.parametrize(("name", "schema"), [("event", events.json_schema), ("outcome", outcome.json_schema)])
def test_its_schemas_say_what_the_contracts_say(described: dict[str, Any], name: str, schema: Any) -> None:  # noqa: ANN401
    """Apart from where definitions lie, and from what only stands at the top of a document."""
    came_to = json.dumps(described["components"]["schemas"][name], sort_keys=True)
    own = {key: value for key, value in schema().items() if key not in {"$defs", "$schema", "$id", "examples"}}
    assert came_to == json.dumps(own, sort_keys=True).replace("#/$defs/", "#/components/schemas/")
    for part, definition in schema()["$defs"].items():
        there = json.dumps(described["components"]["schemas"][part], sort_keys=True)
        assert re.sub("#/components/schemas/", "#/$defs/", there) == json.dumps(definition, sort_keys=True)


@pytest.mark.parametrize("status", Status)
def test_every_outcome_is_valid_by_its_schema(status: Status) -> None:
    validator = Draft202012Validator(outcome.json_schema())
    came_to = json.loads(
        Outcome("e1", "/tests", "start", "vm", 1, status, 1.5, "vm_gone", facts={"attach": "inserted"}).to_json()
    )
    assert validator.is_valid(came_to)
    assert validator.is_valid(json.loads(Outcome("e1", "/tests", "start", "vm", 1, status, 1.5).to_json()))
    assert not validator.is_valid({**came_to, "status": "fine"})
