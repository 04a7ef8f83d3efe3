"""The inventory's `[simulated]` table: its fields, their limits, and the error that names the wrong one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import HostName, StorageName
from workers.hypervisors.simulated.topology import Hosts, StorageSpec

if TYPE_CHECKING:
    from collections.abc import Mapping


class Verb(StrEnum):
    """The verbs of the port that take time."""

    OBSERVE = "observe"
    UPLOAD = "upload"
    COPY = "copy"
    ATTACH = "attach"
    DETACH = "detach"
    DELETE = "delete"
    SURVEY = "survey"


# Part of a path below the directory, hence no slash and no leading dot.
_Name = Annotated[str, StringConstraints(pattern=r"^[^./\x00-\x1f\x7f][^/\x00-\x1f\x7f]{0,127}$")]
_Milliseconds = Annotated[float, Field(ge=0, le=600_000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StorageTable(_Strict):
    """`{shared = false, capacity_bytes = 1000000}`: seen by all hosts that name it, and how much it holds."""

    shared: bool = False
    capacity_bytes: int | None = Field(default=None, ge=0)


class HostTable(_Strict):
    """`[simulated.hosts.<name>]`: the storages that one host sees; the first is where new root disks go."""

    storages: dict[_Name, StorageTable] = Field(min_length=1)


class Section(_Strict):
    """The whole table.

    Args:
        directory: where the world lies; made when it is missing.
        latency_ms: what each verb takes at least, in milliseconds: one number, or one per verb (others 0).
        auto_define: an unknown VM comes into being, halted, when it is first observed (capacity trials).
        hosts: at least one.
    """

    directory: Path
    latency_ms: _Milliseconds | dict[Verb, _Milliseconds] = 0.0
    auto_define: bool = False
    hosts: dict[_Name, HostTable] = Field(min_length=1)

    @model_validator(mode="after")
    def _shared_everywhere_or_nowhere(self) -> Self:
        kinds: dict[str, bool] = {}
        for host in self.hosts.values():
            for name, storage in host.storages.items():
                if kinds.setdefault(name, storage.shared) != storage.shared:
                    raise ValueError(f"storage {name!r} is shared on one host and not on another")
        return self

    def latency(self) -> dict[Verb, float]:
        """What each verb takes at least, in seconds."""
        if isinstance(self.latency_ms, dict):
            return {verb: self.latency_ms.get(verb, 0.0) / 1000 for verb in Verb}
        return dict.fromkeys(Verb, self.latency_ms / 1000)

    def topology(self) -> Hosts:
        """The hosts in the words of the domain."""
        return {
            HostName(host): {
                StorageName(name): StorageSpec(storage.shared, storage.capacity_bytes)
                for name, storage in table.storages.items()
            }
            for host, table in self.hosts.items()
        }


def parse(section: Mapping[str, object]) -> Section:
    """Read the table.

    Raises:
        PermanentError: `MISCONFIGURED`, with the first wrong field and what is wrong with it.
    """
    try:
        return Section.model_validate(dict(section))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(("simulated", *(str(part) for part in first["loc"])))
        raise PermanentError(
            PermanentCode.MISCONFIGURED, f"inventory: {field}: {first['msg']}", "correct it in the inventory"
        ) from error
