"""The fleet's id on Redis: made once, never exchanged, and there for a worker while Redis takes no writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from configdrive.errors import PermanentCode
from rigs.redis import RedisServer
from tests.support import error_of, require_rig
from workers.store.fleet_id import fleet_id

if TYPE_CHECKING:
    from pathlib import Path


def test_it_is_made_once_and_read_while_redis_is_full(tmp_path: Path) -> None:
    with require_rig():
        server = RedisServer(tmp_path)
    with server, server.client() as client:
        found = fleet_id(client, "cd:", None)
        client.config_set("maxmemory", 1)
        assert fleet_id(client, "cd:", None) == fleet_id(client, "cd:", found) == found
        assert error_of(fleet_id, client, "cd:", "another2").code is PermanentCode.MISCONFIGURED
