"""The inventory's tables that drivers share: names, paths, the table `ssh`, and the error for a wrong field."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from configdrive.errors import PermanentCode, PermanentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from configdrive.model import HostName

Name = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,255}$")]
"""What a hypervisor calls a host, a storage, an endpoint."""

Address = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,254}$")]
"""The name or IP address of a machine."""


def _absolute(path: Path) -> Path:
    pure = PurePosixPath(path)
    if not pure.is_absolute() or ".." in pure.parts or len(pure.parts) == 1:
        code = "path"
        raise PydanticCustomError(code, "must be an absolute path below '/', without '..'")
    return path


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
"""A directory on a host."""


class Table(BaseModel):
    """A table of the inventory: no field that is not known, and no value in a message."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class SshTable(Table):
    """`[<hypervisor>.hosts.<name>.ssh]`: the same host by SSH.

    Args:
        host: name or address.
        port: TCP.
        user: who may write where the images go; usually root.
        key_file: the private key, OpenSSH format, without passphrase, readable for the worker alone.
        known_hosts: OpenSSH's file with the host's key. There is no way to go without: an unknown or changed key is
            refused.
    """

    host: Address
    port: int = Field(default=22, ge=1, le=65_535)
    user: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$")] = "root"
    key_file: Path
    known_hosts: Path


_Section = TypeVar("_Section", bound=BaseModel)


def parse_section(section: type[_Section], hypervisor: str, table: Mapping[str, object]) -> _Section:
    """Read a driver's part of the inventory.

    Raises:
        PermanentError: `MISCONFIGURED`, with the first wrong field and what is wrong with it.
    """
    try:
        return section.model_validate(dict(table))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join((hypervisor, *(str(part) for part in first["loc"])))
        detail = f"inventory: {field}: {first['msg']}"
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, "correct it in the inventory") from None


def unknown_host(hypervisor: str, name: HostName) -> PermanentError:
    """Make the error for a host that the inventory does not have."""
    remedy = f"add [{hypervisor}.hosts.{name}] to the inventory, or correct the event"
    return PermanentError(PermanentCode.UNKNOWN_HOST, f"the {hypervisor} inventory has no host {name!r}", remedy)
