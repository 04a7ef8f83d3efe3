"""All settings, from `workers.config.settings`: their docstrings, types and defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, SecretStr, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from docs.generated.source import docstrings_below
from workers.config.settings import Settings

_BOUNDS: Final = {
    "exclusiveMinimum": "more than {}",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "pattern": "`{}`",
}


def markdown() -> str:
    """Return a section for each setting: its anchor is its name."""
    return "\n\n".join(_sections(Settings, "##", "", "CONFIGDRIVE_"))


def _sections(owner: type[BaseModel], level: str, table: str, prefix: str) -> Iterator[str]:
    """Describe a table's settings; those of a table within it stand below its name."""
    docstrings, schemas = docstrings_below(owner), TypeAdapter(owner).json_schema()["properties"]
    for name, field in owner.model_fields.items():
        head, variable, inner = (
            f"{level} `{table}{name}`\n\n{docstrings[name]}",
            f"{prefix}{name.upper()}",
            field.annotation,
        )
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield f"{head}\n\n`{variable}` is a table: `[{name}]` in the file; its variables have two underscores."
            yield from _sections(inner, f"{level}#", f"{name}.", f"{variable}__")
        else:
            yield f"{head}\n\n`{variable}`{_default(field)}{_bounds(schemas[name])}"


def _default(field: FieldInfo) -> str:
    value = field.default
    if field.default_factory is not None and field.default_factory is not dict:
        value = f"~/.config/configdrive/{Path(field.get_default(call_default_factory=True, validated_data={})).name}"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value is PydanticUndefined or value in ((), {}):
        return ", not set by default"
    return f", default `{_written(value)}`"


def _bounds(schema: Mapping[str, Any]) -> str:
    schemas = [schema, *schema.get("anyOf", ())]
    found = [form.format(_written(part[key])) for part in schemas for key, form in _BOUNDS.items() if key in part]
    return "".join(f", {bound}" for bound in found)


def _written(value: object) -> str:
    """Return a value as one writes it in TOML, or in a variable."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
