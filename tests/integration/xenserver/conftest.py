"""One pool for each test: it starts in a moment."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rigs.xapi import XapiPool
from tests.integration.xenserver.cloud import A, B, Cloud
from tests.support import require_rig
from workers.hypervisors.xenserver.driver import XenServerDriver


@pytest.fixture
def xapi(tmp_path: Path) -> Iterator[XapiPool]:
    with require_rig():
        pool = XapiPool(tmp_path / "pool", (A, B))
    with pool:
        yield pool


@pytest.fixture
def cloud(xapi: XapiPool) -> Iterator[Cloud]:
    made = Cloud(xapi)
    yield made
    made.close()


@pytest.fixture
def bare(xapi: XapiPool) -> Iterator[Cloud]:
    """One in which nobody has made a directory yet."""
    made = Cloud(xapi, prepared=False)
    yield made
    made.close()


@pytest.fixture
def driver(cloud: Cloud) -> XenServerDriver:
    return cloud.driver()
