"""The published schemas in a validator of another make: ajv compiles them, and says of each document what we say."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

import pytest

from configdrive.contract import events, outcome
from configdrive.contract.outcome import Outcome
from docs.blocks import blocks_of, pages
from rigs import ajv
from tests.support import require_rig
from tests.unit.documents import ALICE, OTHER_UUID, WORDS, document, full_document
from tests.unit.refusals import ENVELOPES, LONG, VALUES, paths, planted, refusal, with_value

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


def faulty() -> list[Any]:
    """Full events with a stranger beside one of their fields, or with a number in the place of one."""
    made = []
    for whole in map(full_document, WORDS):
        for path in paths(whole):
            # An envelope may have extensions; metadata and services have names of their own.
            if len(path) > 1 and isinstance(path[-1], str) and path[-2] not in {"extra", "services"}:
                made.append(planted(whole, (*path[:-1], "stranger"), 1))
            if path not in {(), ("datacontenttype",), ("specversion",), ("type",)} and path[-2:-1] != ("extra",):
                made.append(planted(whole, path, 3.5))
    return made


@dataclass(frozen=True)
class Taken:
    """Whether ajv takes each of the documented events, of those that the product refuses, and of the faulty ones."""

    documented: list[bool]
    refused: list[bool]
    faulty: list[bool]


@pytest.fixture(scope="module")
def taken() -> Taken:
    refused = [*(with_value(*one) for one in VALUES), *(full_document("stop") | dict([one]) for one in ENVELOPES)]
    known, end = len(documented()), len(documented()) + len(refused)
    with require_rig():
        answers = ajv.takes(events.json_schema(), [*documented(), *refused, *faulty()])
    return Taken(answers[:known], answers[known:end], answers[end:])


def test_every_documented_event_is_taken_by_both(taken: Taken) -> None:
    documents = zip(documented(), taken.documented, strict=True)
    assert [one for one, valid in documents if not valid or refusal(one) is not None] == []


def test_what_the_product_refuses_the_schema_refuses_but_for_what_it_has_no_words_for(taken: Taken) -> None:
    found = [one for one, valid in zip([*VALUES, *ENVELOPES], taken.refused, strict=True) if valid]
    assert sorted(map(repr, found)) == sorted(repr((field, value)) for field, value, _ in DISAGREEMENTS)
    assert LONG not in str(found)


def test_both_refuse_the_same_structural_faults(taken: Taken) -> None:
    assert [one for one, valid in zip(faulty(), taken.faulty, strict=True) if valid or refusal(one) is None] == []


def test_ajv_reads_the_outcomes_that_we_write_and_no_others() -> None:
    known = [json.loads(Outcome.from_json(json.dumps(example)).to_json()) for example in outcome.EXAMPLES]
    with require_rig():
        answers = ajv.takes(outcome.json_schema(), [*outcome.EXAMPLES, *known, {**known[0], "status": "fine"}])
    assert answers == [True] * 4 + [False]


@pytest.mark.parametrize("schema", [events.json_schema(), outcome.json_schema()], ids=["event", "outcome"])
def test_the_schemas_have_nothing_that_a_validator_may_not_know(schema: dict[str, Any]) -> None:
    assert not re.search(r'"(?:format|discriminator|nullable)":', json.dumps(schema))
    assert schema["$id"].startswith("urn:configdrive-fleet:")
