"""A simulated cloud of two hosts, for every test a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.workers.hypervisors.simulated.cloud import Cloud

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    cloud = Cloud(tmp_path / "world")
    yield cloud
    cloud.driver.close()
