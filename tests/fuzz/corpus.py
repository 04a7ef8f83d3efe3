"""What the mutations begin with: documents by our own published schema, and whole valid ones by our own strategies."""

from functools import cache
from random import Random
from typing import Any

from configdrive.contract.events import json_schema
from tests.fuzz.by_schema import Maker, drawn
from tests.unit import strategies
from tests.unit.documents import WORDS, Json, full_document


@cache
def maker() -> Maker:
    """Return what makes documents by the schema that we publish; not all that fits it is an event."""
    return Maker(json_schema())


@cache
def events() -> list[Json]:
    """Whole events: each word with every field, and valid ones with any choice of fields."""
    return [*map(full_document, WORDS), *drawn(strategies.documents(), 100)]


def event(random: Random) -> Json:
    """Return an event, or something that fits the schema of one."""
    made: Json = maker().make(random) if random.random() < 0.5 else random.choice(events())
    return made


def guest(random: Random) -> Any:  # noqa: ANN401 - any JSON
    """Return guest data as it stands in a box."""
    made = maker()
    return made.make(random, made.root["$defs"]["GuestData"])
