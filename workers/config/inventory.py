"""The inventory: which hosts, pools and vCenters there are, and how to reach them; one TOML table per hypervisor.

What a table holds is the driver's business (`workers/hypervisors/<name>`). A secret stands in a file or in the
environment: `password = {file = "/run/secrets/xen"}` or `password = {env = "XEN_PASSWORD"}`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import HypervisorName
from workers.config.secret_files import read_secret

Table = Mapping[str, object]


def read_inventory(path: Path) -> dict[HypervisorName, Table]:
    """Read the file; secrets that stand elsewhere are filled in.

    Raises:
        PermanentError: `MISCONFIGURED` when the file or a secret cannot be read; names the file and the place in it.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        detail = f"the inventory {path} cannot be read: {error.strerror}"
        remedy = "write one (see the README), or point CONFIGDRIVE_INVENTORY to it"
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, remedy) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problem = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "it is not UTF-8"
        detail = f"{path} is not valid TOML: {problem}"
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, "correct it there") from None
    sections: dict[HypervisorName, Table] = {}
    for name, table in document.items():
        if not isinstance(table, dict):
            detail = f"{path}: '{name}' stands outside of any hypervisor's table"
            raise PermanentError(PermanentCode.MISCONFIGURED, detail, "begin with a table such as [kvm.hosts.kvm-01]")
        sections[HypervisorName(name)] = {key: _filled(value, f"{name}.{key}") for key, value in table.items()}
    return sections


def _filled(value: object, where: str) -> object:
    match value:
        case {"file": str(name), **rest} if not rest:
            return read_secret(Path(name), f"inventory {where}")
        case {"env": str(name), **rest} if not rest:
            return _from_environment(name, where)
        case dict():
            return {key: _filled(inner, f"{where}.{key}") for key, inner in value.items()}
        case list():
            return [_filled(inner, f"{where}[{index}]") for index, inner in enumerate(value)]
        case _:
            return value


def _from_environment(name: str, where: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        detail = f"inventory {where}: the environment variable {name} is not set"
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, "set it for the worker's process") from None
