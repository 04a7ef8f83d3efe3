"""All settings, from `workers.settings`: their docstrings, types and defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import SecretStr, TypeAdapter
from pydantic_core import PydanticUndefined

from docs.generated.source import docstrings_below
from workers.settings import Settings

_BOUNDS: Final = {
    "exclusiveMinimum": "more than {}",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "pattern": "`{}`",
}


def markdown() -> str:
    """Return a section for each setting: its anchor is its name."""
    told = docstrings_below(Settings)
    return "\n\n".join(
        f"## `{name}`\n\n{told[name]}\n\n`CONFIGDRIVE_{name.upper()}`{_default(name)}{_bounds(name)}"
        for name in Settings.model_fields
    )


def _default(name: str) -> str:
    field = Settings.model_fields[name]
    value = field.default
    if field.default_factory is not None:
        value = f"~/.config/configdrive/{Path(field.get_default(call_default_factory=True, validated_data={})).name}"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value is PydanticUndefined or value == ():
        return ", not set by default"
    return f", default `{_written(value)}`"


def _bounds(name: str) -> str:
    schema = TypeAdapter(Settings).json_schema()["properties"][name]
    schemas = [schema, *schema.get("anyOf", ())]
    found = [form.format(_written(part[key])) for part in schemas for key, form in _BOUNDS.items() if key in part]
    return "".join(f", {bound}" for bound in found)


def _written(value: object) -> str:
    """Return a value as one writes it in TOML, or in a variable."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
