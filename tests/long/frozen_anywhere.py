"""A worker stands still at each point of an event, and is let go at each moment of what others do meanwhile."""

from collections.abc import Iterator

import pytest
import redis

from rigs.redis import RedisServer
from tests.integration.queue.frozen import run
from tests.integration.queue.test_frozen import SCRIPTS
from tests.support import require_rig


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    with require_rig():
        server = RedisServer(tmp_path_factory.mktemp("redis"), appendonly=False)
    with server, server.client() as client:
        yield client


@pytest.mark.timeout(600)  # hundreds of lives, one after the other
@pytest.mark.parametrize("at_once", [False, True], ids=["taken over", "superseded"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_worker_that_stood_still_anywhere_does_no_harm(name: str, empty: redis.Redis, *, at_once: bool) -> None:
    script = SCRIPTS[name]
    wrong = []
    for frozen, point in enumerate(run(empty, script, None, None, at_once=at_once).points):
        late = run(empty, script, frozen, None, at_once=at_once)
        moments = range(len(late.moments))
        for place in (late, *(run(empty, script, frozen, free, at_once=at_once) for free in moments)):
            wrong += [f"stood still {point}, went on {place.went_on}: {problem}" for problem in place.problems()]
    assert wrong == []
