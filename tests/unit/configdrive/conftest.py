"""A fleet in memory with one VM."""

import pytest

from tests.unit.fakes.fleet import HELLO, LOCAL, Fleet, running


@pytest.fixture
def fleet() -> Fleet:
    """A VM that is defined on host-1 with its root disk on the shared storage `primary`, and not deployed yet."""
    return Fleet()


@pytest.fixture
def local(fleet: Fleet) -> Fleet:
    """A VM that runs on host-1 with its root disk on storage of that host, and a password on its drive."""
    fleet.machine.root = LOCAL
    return running(fleet, guest=HELLO | {"password": "first"})
