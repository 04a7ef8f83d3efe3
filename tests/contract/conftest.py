"""Put every driver that has a rig through every case whose features its rig has."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import pytest

from configdrive.ports import HypervisorDriver
from tests.contract import rigs
from tests.contract.rig import DriverRig, Feature, OpenRig

RIGS: dict[str, tuple[frozenset[Feature], OpenRig]] = {
    name: rig
    for module in pkgutil.iter_modules(rigs.__path__)
    for name, rig in importlib.import_module(f"{rigs.__name__}.{module.name}").RIGS.items()
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*features): runs only for rigs with all of these features")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "rig" not in metafunc.fixturenames:
        return
    needed: set[Feature] = set()
    for marker in metafunc.definition.iter_markers("needs"):
        needed.update(marker.args)
    names = [name for name, (features, _) in RIGS.items() if needed <= features]
    metafunc.parametrize("rig", names, indirect=True, scope="package")


@pytest.fixture(scope="package")
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DriverRig]:
    name: str = request.param
    with RIGS[name][1](tmp_path_factory.mktemp(name)) as opened:
        yield opened


@pytest.fixture
def driver(rig: DriverRig) -> Iterator[HypervisorDriver]:
    made = rig.make_driver()
    yield made
    made.close()
