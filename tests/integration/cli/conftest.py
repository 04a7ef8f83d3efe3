"""One Redis and one place with a worker for most tests; places of their own for the others."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rigs.cloud import VmScript
from rigs.fleet import keys_in
from rigs.redis import RedisServer
from tests.integration.cli.place import SECRETS, Place
from tests.support import require_rig


@pytest.fixture(scope="package")
def cli_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with require_rig(), RedisServer(tmp_path_factory.mktemp("cli-redis")) as server:
        yield server


@pytest.fixture(scope="package")
def shared_place(cli_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("place"), cli_redis)
    with place.fleet:
        yield place


@pytest.fixture
def place(shared_place: Place) -> Iterator[Place]:
    """A place with a worker. Whatever a test does there, no secret may be printed."""
    yield shared_place
    _assert_discreet(shared_place)


@pytest.fixture
def quiet_place(cli_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Place]]:
    """Return a maker of places without a worker, each with Redis keys of its own, and with the keys that seal."""
    places: list[Place] = []

    def make(**settings: Any) -> Place:  # noqa: ANN401 - fields of Settings
        made = Place(tmp_path_factory.mktemp("quiet"), cli_redis, workers=0, settings=settings)
        keys_in(made.fleet.settings.keys_file)
        places.append(made)
        return made

    yield make
    for made in places:
        made.fleet.stop()
        _assert_discreet(made)


@pytest.fixture
def vm() -> VmScript:
    return VmScript()


def _assert_discreet(place: Place) -> None:
    said = "".join(place.said) + place.fleet.log
    assert [secret for secret in SECRETS if secret in said] == []
    place.said.clear()
