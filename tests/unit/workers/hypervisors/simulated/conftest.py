"""A simulated cloud of two hosts, for every test a new one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.workers.hypervisors.simulated.cloud import Cloud


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    cloud = Cloud(tmp_path / "world")
    yield cloud
    cloud.driver.close()
