"""The Lua scripts that run on Redis: `put.lua` here, the workers' in a package of theirs, `common.lua` before each."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import redis
    from redis.commands.core import Script

HERE = "configdrive.client"


def register(client: redis.Redis, name: str, package: str = HERE) -> Script:
    """Return the script `lua/<name>.lua` of a package, which is sent to Redis when it is first called."""
    return client.register_script(source("common") + source(name, package))


def source(name: str, package: str = HERE) -> str:
    """Return the text of one Lua file of a package."""
    return files(package).joinpath("lua", f"{name}.lua").read_text("utf-8")
