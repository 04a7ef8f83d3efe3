"""A redis-server for all tests of the store, and a store of its own for each."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import redis

from rigs.redis import RedisServer
from tests.mailboxes import Store
from tests.support import require_rig


@pytest.fixture(scope="package")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with require_rig():
        server = RedisServer(tmp_path_factory.mktemp("redis"))
    with server:
        yield server


@pytest.fixture(scope="package")
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis_server.client() as client:
        yield client


@pytest.fixture
def empty(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """Return a client to a database of its own: whoever reads all keys at each step must not read others' too."""
    with redis.Redis.from_url(redis_server.url.removesuffix("/0") + "/1", socket_timeout=600) as client:
        client.flushdb()
        yield client


@pytest.fixture
def store(client: redis.Redis) -> Store:
    return Store(client)


@pytest.fixture
def make_store(client: redis.Redis) -> Callable[..., Store]:
    """Return a maker of stores with other options."""

    return partial(Store, client)
