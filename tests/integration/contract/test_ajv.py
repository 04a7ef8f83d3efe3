"""The published schemas in a validator of another make: ajv compiles them, and says of each document what we say."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import pytest

from configdrive.contract import events, outcome
from configdrive.contract.outcome import Outcome
from docs.blocks import blocks_of, pages
from rigs import ajv
from tests.support import require_rig
from tests.unit.documents import ALICE, OTHER_UUID, WORDS, document, full_document
from tests.unit.refusals import refusal
from tests.unit.refused import ENVELOPES, LONG, VALUES, with_value

DISAGREEMENTS: Final[list[tuple[str, object, str]]] = [
    ("sequence", 1.0, "JSON Schema calls 1.0 an integer"),
    ("subject", OTHER_UUID, "it compares one value with another"),
    ("guest.metadata.extra", {"key": {"deep": ["nul\x00"]}}, "it looks into any JSON, at any depth"),
    ("guest.metadata.extra", {"key": [1] * 40_000}, "it counts the characters of the JSON written out"),
    ("guest.metadata.extra", {"a-b": "x", "a_b": "y"}, "it compares one name with another"),
    ("guest.ssh_keys", [{"name": "a", "key": ALICE}] * 2, "it compares one name with another"),
    ("guest.ssh_keys", ["ssh-ed25519 AAAAthisisnotakeyatall= x"], "it looks into base64"),
    ("guest.nics", [{"mac": "02:00:5e:10:00:01"}] * 2, "it compares one address with another"),
    (
        "guest.nics",
        [{"mac": "02:00:5e:10:00:01", "vlan": {"link": "02:00:5e:10:00:01", "id": 7}}],
        "it compares one address with another",
    ),
    ("guest.password", "\N{GRINNING FACE}" * 128, "it counts bytes, not characters"),
]
"""What the product refuses and its JSON Schema takes, each with what JSON Schema has no words for."""


def documented() -> list[Any]:
    """Every event that a page or the schema shows, and the smallest and the fullest of each type."""
    shown = [json.loads(block.text) for page in pages() for block in blocks_of(page) if block.language == "json"]
    of_pages = [one for one in shown if "specversion" in one]
    assert of_pages
    made = [make(word) for make in (document, full_document) for word in WORDS]
    return [*of_pages, *events.EXAMPLES, *made]


@pytest.fixture(scope="module")
def taken() -> tuple[list[bool], list[bool]]:
    """What ajv says of the documented events, and of those that the product refuses."""
    refused = [*(with_value(*one) for one in VALUES), *(full_document("stop") | dict([one]) for one in ENVELOPES)]
    with require_rig():
        answers = ajv.takes(events.json_schema(), [*documented(), *refused])
    known = len(documented())
    return answers[:known], answers[known:]


def test_every_documented_event_is_taken_by_both(taken: tuple[list[bool], list[bool]]) -> None:
    wrong = [one for one, valid in zip(documented(), taken[0], strict=True) if not valid or refusal(one) is not None]
    assert wrong == []


def test_what_the_product_refuses_the_schema_refuses_but_for_what_it_has_no_words_for(
    taken: tuple[list[bool], list[bool]],
) -> None:
    found = [one for one, valid in zip([*VALUES, *ENVELOPES], taken[1], strict=True) if valid]
    assert sorted(map(repr, found)) == sorted(repr((field, value)) for field, value, _ in DISAGREEMENTS)
    assert LONG not in str(found)


def test_ajv_reads_the_outcomes_that_we_write_and_no_others() -> None:
    known = [json.loads(Outcome.from_json(json.dumps(example)).to_json()) for example in outcome.EXAMPLES]
    with require_rig():
        answers = ajv.takes(outcome.json_schema(), [*outcome.EXAMPLES, *known, {**known[0], "status": "fine"}])
    assert answers == [True] * 4 + [False]


@pytest.mark.parametrize("schema", [events.json_schema(), outcome.json_schema()], ids=["event", "outcome"])
def test_the_schemas_have_nothing_that_a_validator_may_not_know(schema: dict[str, Any]) -> None:
    assert not re.search(r'"(?:format|discriminator|nullable)":', json.dumps(schema))
    assert schema["$id"].startswith("urn:configdrive-fleet:")
