"""The part of JSON Schema (draft 2020-12) that the exported contract uses, to hold documents against it."""

from __future__ import annotations

import re
from typing import Any

TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}
SAYS_NOTHING = {"$schema", "$id", "$defs", "title", "description", "default", "writeOnly", "examples", "then"}
SAYS_NOTHING |= {"minContains", "maxContains"}  # read with the word that they belong to


def fits(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:  # noqa: ANN401 - any JSON
    """Say whether a value fits; a keyword that is not known here fails the test."""
    return all(_holds(keyword, value, schema, root) for keyword in schema if keyword not in SAYS_NOTHING)


def _holds(keyword: str, value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:  # noqa: ANN401, C901, PLR0911, PLR0912
    rule = schema[keyword]
    match keyword:
        case "$ref":
            return fits(value, root["$defs"][rule.removeprefix("#/$defs/")], root)
        case "type":
            return isinstance(value, TYPES[rule]) and (rule == "boolean" or not isinstance(value, bool))
        case "const":
            return bool(value == rule)
        case "enum":
            return value in rule
        case "anyOf":
            return any(fits(value, choice, root) for choice in rule)
        case "oneOf":
            return sum(fits(value, choice, root) for choice in rule) == 1
        case "allOf":
            return all(fits(value, part, root) for part in rule)
        case "not":
            return not fits(value, rule, root)
        case "if":
            return not fits(value, rule, root) or fits(value, schema["then"], root)
        case "contains":
            found = sum(fits(item, rule, root) for item in value) if isinstance(value, list) else 0
            return bool(schema["minContains"] <= found <= schema["maxContains"])
        case "pattern":
            return not isinstance(value, str) or re.search(rule, value) is not None
        case "minLength":
            return not isinstance(value, str) or len(value) >= rule
        case "maxLength":
            return not isinstance(value, str) or len(value) <= rule
        case "minimum":
            return not isinstance(value, int) or value >= rule
        case "maximum":
            return not isinstance(value, int) or value <= rule
        case "minItems":
            return not isinstance(value, list) or len(value) >= rule
        case "maxItems":
            return not isinstance(value, list) or len(value) <= rule
        case "maxProperties":
            return not isinstance(value, dict) or len(value) <= rule
        case "items":
            return not isinstance(value, list) or all(fits(item, rule, root) for item in value)
        case "required":
            return not isinstance(value, dict) or all(name in value for name in rule)
        case "properties":
            return not isinstance(value, dict) or all(fits(value[k], v, root) for k, v in rule.items() if k in value)
        case "patternProperties":
            return not isinstance(value, dict) or all(
                fits(v, inner, root) for p, inner in rule.items() for k, v in value.items() if re.search(p, k)
            )
        case "propertyNames":
            return not isinstance(value, dict) or all(fits(name, rule, root) for name in value)
        case "additionalProperties":
            if not isinstance(value, dict):
                return True
            patterns = schema.get("patternProperties", {})
            others = [
                v
                for k, v in value.items()
                if k not in schema.get("properties", {}) and not any(re.search(p, k) for p in patterns)
            ]
            return rule is True or (not others if rule is False else all(fits(v, rule, root) for v in others))
        case _:
            raise AssertionError(f"the export uses {keyword!r}, which this reader does not know")
