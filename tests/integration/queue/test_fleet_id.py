"""The fleet's id on Redis: made once, never exchanged, and there for a worker while Redis takes no writes."""

from pathlib import Path

import pytest

from configdrive.errors import PermanentCode
from rigs.redis import RedisServer
from tests.mailboxes import Store
from tests.support import error_of, require_rig
from workers.store.fleet_id import FleetId, fleet_id


def test_it_is_made_once_and_read_while_redis_is_full(tmp_path: Path) -> None:
    with require_rig():
        server = RedisServer(tmp_path)
    with server, server.client() as client:
        found = fleet_id(client, "cd:", None)
        client.config_set("maxmemory", 1)
        assert fleet_id(client, "cd:", None) == fleet_id(client, "cd:", found) == found
        assert error_of(fleet_id, client, "cd:", "another2").code is PermanentCode.MISCONFIGURED


def test_of_a_redis_that_was_lost_the_new_id_is_taken_and_both_are_named(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    ask, key = FleetId(store.client, store.prefix, None), store.key("fleet")
    first = ask()
    assert ask() == first
    assert not caplog.messages
    store.client.delete(key)
    second = ask()
    assert (store.client.get(key), second != first) == (second.encode(), True)
    store.client.set(key, "another2")
    assert ask() == ask() == "another2"
    assert all(f"--fleet {old}`" in said for old, said in zip((first, second), caplog.messages, strict=True))
    assert error_of(FleetId(store.client, store.prefix, first)).code is PermanentCode.MISCONFIGURED


def test_a_worker_that_names_many_images_asks_once_in_a_while(store: Store) -> None:
    ask = FleetId(store.client, store.prefix, None, kept=3600)
    first = ask()
    store.client.set(store.key("fleet"), "another2")
    assert (ask(), FleetId(store.client, store.prefix, None)()) == (first, "another2")
