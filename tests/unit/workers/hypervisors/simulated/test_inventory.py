"""The `[simulated]` table: what it may say, and what is said when it is wrong."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from configdrive.errors import PermanentCode
from configdrive.model import HostName, Place, StorageName
from tests.support import error_of
from workers.hypervisors.simulated.driver import SimulatedDriver
from workers.hypervisors.simulated.inventory import Verb, parse

TABLE = """
[simulated]
directory = "/var/lib/configdrive/simulated"
latency_ms = { upload = 20, attach = 2.5 }

[simulated.hosts.h1]
storages = { "primary 1" = { shared = true }, local = { capacity_bytes = 1000 } }

[simulated.hosts."h2.example"]
storages = { "primary 1" = { shared = true } }
"""


def table(**changes: object) -> dict[str, Any]:
    return {**tomllib.loads(TABLE)["simulated"], **changes}


def test_a_full_table_is_read() -> None:
    section = parse(table())
    assert section.latency()[Verb.UPLOAD] == 0.02
    assert section.latency()[Verb.ATTACH] == 0.0025
    assert section.latency()[Verb.OBSERVE] == 0
    assert set(parse(table(latency_ms=5)).latency().values()) == {0.005}
    assert section.auto_define is False
    hosts = section.topology()
    assert list(hosts) == ["h1", "h2.example"]
    local = hosts[HostName("h1")][StorageName("local")]
    assert (local.shared, local.capacity_bytes) == (False, 1000)
    assert hosts[HostName("h2.example")][StorageName("primary 1")].shared


def storages(**named: object) -> dict[str, object]:
    return {"h1": {"storages": named}}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"directory": None}, "simulated.directory"),
        ({"hosts": {}}, "simulated.hosts"),
        ({"hosts": storages()}, "simulated.hosts.h1.storages"),
        ({"hosts": storages(**{"../etc": {}})}, "simulated.hosts.h1.storages"),
        ({"hosts": storages(**{".hidden": {}})}, "simulated.hosts.h1.storages"),
        ({"hosts": storages(**{"a/b": {}})}, "simulated.hosts.h1.storages"),
        ({"hosts": {"../h1": {"storages": {"a": {}}}}}, "simulated.hosts"),
        ({"hosts": storages(a={"capacity_bytes": -1})}, "simulated.hosts.h1.storages.a.capacity_bytes"),
        ({"hosts": storages(a={"size": 1})}, "simulated.hosts.h1.storages.a.size"),
        ({"latency_ms": -1}, "simulated.latency_ms"),
        ({"latency_ms": {"reboot": 1}}, "simulated.latency_ms"),
        ({"latencyms": 1}, "simulated.latencyms"),
        (
            {"hosts": {"h1": {"storages": {"a": {"shared": True}}}, "h2": {"storages": {"a": {"shared": False}}}}},
            "storage 'a' is shared on one host and not on another",
        ),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, object], field: str) -> None:
    caught = error_of(parse, table(**changes))
    assert caught.code is PermanentCode.MISCONFIGURED
    assert field in caught.detail
    assert caught.remedy


def test_the_directory_is_made_for_its_owner_only_and_storages_lie_where_the_documentation_says(tmp_path: Path) -> None:
    made = tmp_path / "new" / "world"
    driver = SimulatedDriver.from_inventory(table(directory=made))
    assert made.stat().st_mode & 0o077 == 0
    assert driver.survey(HostName("h1")).images == ()
    assert sorted(driver.hosts()) == ["h1", "h2.example"]
    topology = driver.world.topology
    folders = {str(storage.folder.relative_to(made)) for storage in topology.of(HostName("h1"))}
    assert folders == {"shared/primary 1/configdrive", "hosts/h1/local/configdrive"}
    assert topology.storage(HostName("h1"), StorageName("primary 1")).place == Place(StorageName("primary 1"))


def test_a_directory_that_cannot_be_made_is_a_fleet_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "file" in error_of(SimulatedDriver.from_inventory, table(directory=tmp_path / "file" / "world")).detail
