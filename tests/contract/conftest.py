"""Put every driver that has a rig through every case whose features its rig has."""

import importlib
from collections.abc import Iterator

import pytest

from configdrive.ports import HypervisorDriver
from tests.contract.rig import DriverRig, Feature
from tests.contract.rigs import FEATURES
from tests.support import require


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*features): runs only for rigs with all of these features")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "rig" not in metafunc.fixturenames:
        return
    needed: set[Feature] = set()
    for marker in metafunc.definition.iter_markers("needs"):
        needed.update(marker.args)
    names = [name for name, features in FEATURES.items() if needed <= features]
    metafunc.parametrize("rig", names, indirect=True, scope="package")


@pytest.fixture(scope="package")
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DriverRig]:
    name: str = request.param
    try:
        module = importlib.import_module(f"tests.contract.rigs.{name.partition('_')[0]}")
    except ImportError as error:
        require(condition=False, reason=f"{error.name} is not installed")
        raise
    with module.RIGS[name](tmp_path_factory.mktemp(name)) as opened:
        yield opened


@pytest.fixture
def driver(rig: DriverRig) -> Iterator[HypervisorDriver]:
    made = rig.make_driver()
    yield made
    made.close()
