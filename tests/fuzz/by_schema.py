"""Documents made from a JSON Schema, the one that `configdrive schema` prints: whatever it allows, at its edges too.

hypothesis-jsonschema, which does this, draws its objects from a part of Hypothesis that is no more (0.23.1 with 6.170).
"""

import re
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from configdrive.contract.json_schema import PATTERNS
from configdrive.drive_data import ONE_LINE_PATTERN

Schema = dict[str, Any]
_T = TypeVar("_T")
_DEEPEST = 12

_KNOWN = {
    PATTERNS["date-time"]: ("2026-03-10T07:13:00Z", "1985-04-12T23:20:50.52+01:00", "2099-12-31T23:59:59-12:00"),
    PATTERNS["ipvanyaddress"]: ("192.0.2.7", "2001:db8::7", "::ffff:192.0.2.1", "0.0.0.0"),  # noqa: S104  # not bound
    PATTERNS["ipvanyinterface"]: ("192.0.2.7/24", "2001:db8::7/64", "10.0.0.1/255.0.0.0"),
    PATTERNS["ipvanynetwork"]: ("192.0.2.0/24", "2001:db8::/32", "0.0.0.0/0"),
}
"""What matches the long patterns: to draw from those takes seconds."""


def drawn(strategy: SearchStrategy[_T], count: int) -> list[_T]:
    """Draw so many values."""
    found: list[_T] = []

    @seed(1)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def draw(value: _T) -> None:
        found.append(value)

    draw()
    return found


@cache
def _matching(pattern: str) -> list[str]:
    return drawn(st.from_regex(re.compile(pattern.replace("$", r"\Z"))), 20)


@dataclass(frozen=True)
class Maker:
    """Makes documents that fit a schema."""

    root: Schema

    def make(  # noqa: C901, PLR0911 - one case for each keyword
        self, random: Random, schema: Schema | None = None, deep: int = 0
    ) -> Any:  # noqa: ANN401 - any JSON
        """Make one."""
        schema = self.root if schema is None else schema
        match schema:
            case {"$ref": reference}:
                return self.make(random, self.root["$defs"][reference.removeprefix("#/$defs/")], deep + 1)
            case {"const": value}:
                return value
            case {"enum": values}:
                return random.choice(values)
            case {"anyOf": choices} | {"oneOf": choices}:
                return self.make(random, random.choice(choices), deep + 1)
            case {"type": "object"}:
                return self._object(random, schema, deep)
            case {"type": "array"}:
                return self._array(random, schema, deep)
            case {"type": "string"}:
                return _string(random, schema)
            case {"type": "integer"}:
                low, high = schema.get("minimum", -5), schema.get("maximum", 70_000)
                return random.choice((low, high, 4, 6, random.randint(low, high)))
            case {"type": "boolean"}:
                return random.random() < 0.5
            case {"type": "null"}:
                return None
            case _:
                return random.choice((None, 1, "x", [], {}))

    def _object(self, random: Random, schema: Schema, deep: int) -> Schema:
        required = set(schema.get("required", ()))
        found = {
            name: self.make(random, inner, deep + 1)
            for name, inner in schema.get("properties", {}).items()
            if name in required or "const" in inner or (deep < _DEEPEST and random.random() < 0.5)
        }
        others = schema.get("additionalProperties")
        if isinstance(others, dict):
            names = schema.get("propertyNames", {"type": "string"})
            for _ in range(_count(random, schema.get("maxProperties", 8))):
                found[str(self.make(random, names, deep + 1))] = self.make(random, others, deep + 1)
        for pattern, inner in schema.get("patternProperties", {}).items():
            for _ in range(_count(random, 8)):
                found[random.choice(_matching(pattern))] = self.make(random, inner, deep + 1)
        return found

    def _array(self, random: Random, schema: Schema, deep: int) -> list[Any]:
        least, most = schema.get("minItems", 0), schema.get("maxItems", 8)
        return [self.make(random, schema.get("items", {}), deep + 1) for _ in range(max(least, _count(random, most)))]


def _count(random: Random, most: int) -> int:
    return min(most, random.choice((0, 0, 1, 1, 2, 3, 64)))


def _string(random: Random, schema: Schema) -> str:
    if schema.get("pattern") in _KNOWN:
        return random.choice(_KNOWN[schema["pattern"]])
    if "pattern" in schema and (schema["pattern"] != ONE_LINE_PATTERN or random.random() < 0.5):
        return random.choice(_matching(schema["pattern"]))
    least, most = schema.get("minLength", 0), schema.get("maxLength", 40)
    length = min(most, max(least, random.choice((0, 1, 5, 40, 255, 256))))
    letters = random.choice(("abcXYZ019 -_.", "abcXYZ019 -_.", "a.:/\\#é\u2028\u200f😀\t\n\x01"))
    return "".join(random.choice(letters) for _ in range(length))
