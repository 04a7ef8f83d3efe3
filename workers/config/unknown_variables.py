"""Variables of the environment that are called like a setting and are none: nobody would read them, or say so."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel

from workers.config.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PREFIX: Final = str(Settings.model_config["env_prefix"])

OTHERS: Final = frozenset({"SETTINGS", "TRACEBACK"})
"""Behind the prefix: what is no setting, and read all the same."""

COMPOSE: Final = frozenset({
    "CLOUDSTACK_DIRECTORY", "DIRECTORY", "EXTRAS", "TAG", "FLOWER_PORT", "GRAFANA_PASSWORD", "GRAFANA_PORT",
    "PROMETHEUS_PORT", "REDIS_PORT", "WEBHOOK_ADDRESS", "GATE_ADDRESS",
})  # fmt: skip
"""Behind the prefix: what docker-compose.yml reads, and a shell may have set for it."""

_NEAR: Final = 0.7
"""How alike two names are to be taken for one, from 0 to 1: one letter of four may be wrong."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """A variable that is ignored: what to say of it, never its value."""

    detail: str
    remedy: str


def names_of_settings() -> Iterator[str]:
    """Name every setting as a variable does behind the prefix, in small letters; those of a table `<table>__<name>`."""
    for name, field in Settings.model_fields.items():
        yield name
        table = field.annotation
        if isinstance(table, type) and issubclass(table, BaseModel):
            yield from (f"{name}__{inner}" for inner in table.model_fields)


def ignored_variables(names: Iterable[str]) -> list[Ignored]:
    """Find those among the names of variables that are called like settings and are none, with the nearest that is.

    Names are read as pydantic does, large and small letters alike.
    """
    known = {name.upper() for name in names_of_settings()}
    found = []
    for name in sorted(names):
        word = name.upper().removeprefix(_PREFIX)
        if word == name.upper() or word in known | OTHERS | COMPOSE:
            continue
        near = get_close_matches(word, sorted(known | OTHERS), n=1, cutoff=_NEAR)
        remedy = f"did you mean {_PREFIX}{near[0]}?" if near else "unset it; `configdrive settings` lists all"
        found.append(Ignored(f"the variable {name} is no setting, and is ignored", remedy))
    return found
