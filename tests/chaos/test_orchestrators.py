"""An orchestrator sees between two chapters what is wrong with its VM, on a world in which it was made wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from typing_extensions import override

from configdrive.contract.outcome import Outcome
from configdrive.model import EventKey, HostName, InstanceName, StorageName, VmUuid
from rigs.cloud import Cloud
from tests.chaos.findings import Finding
from tests.chaos.model import Content, State
from tests.chaos.orchestrators import Ground, Orchestrator
from tests.chaos.plan import LOCAL, Life, Step, secret_password
from workers.hypervisors.simulated.topology import StorageSpec

if TYPE_CHECKING:
    from pathlib import Path

ONE, OTHER = VmUuid("11111111-1111-4111-8111-111111111111"), VmUuid("22222222-2222-4222-8222-222222222222")
LIFE = Life(0, ONE, InstanceName("i-2-0-vm"), HostName("h1"), LOCAL, 0.0, ())
IMAGE = f"i-2-0-vm.{ONE}.3.iso"


class Place(Ground):
    """A ground on which nothing happens by itself."""

    def __init__(self, directory: Path) -> None:
        hosts = {HostName(host): {LOCAL: StorageSpec()} for host in ("h1", "h2")}
        self.world = Cloud(directory, hosts=hosts).world
        self.frozen = False
        self.seen: list[Finding] = []

    @override
    def publish(self, life: Life, step: Step, event: dict[str, Any]) -> None: ...

    @override
    def decide(self, life: Life, event: EventKey, outcome: Outcome, *, skip: bool) -> None: ...

    @override
    def has_leftovers(self, life: Life) -> bool:
        return life is not LIFE

    @override
    def unverified(self, life: Life) -> bool:
        return self.frozen and life is LIFE

    @override
    def found(self, finding: Finding) -> None:
        self.seen.append(finding)

    def put(self, name: str, content: bytes, host: str = "h1") -> None:
        (self.world.directory / "hosts" / host / LOCAL / "configdrive" / name).write_bytes(content)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.world.define_vm(ONE, LIFE.name, LIFE.host)
    place.put(IMAGE, f'{{"uuid": "{ONE}"}}{secret_password(ONE, 3)}'.encode())
    place.world.insert(ONE, StorageName(LOCAL), IMAGE)
    return place


def looked(place: Place) -> list[str]:
    one = Orchestrator(LIFE, place)
    one.model.state = State(LIFE.host, 3, known=True, generation=3, attached=True, carried=secret_password(ONE, 3))
    one.model.contents[3] = Content(secret_password(ONE, 3))
    place.seen.clear()
    one.look()
    return [finding.check for finding in place.seen]


def test_what_is_right_is_found_right(place: Place) -> None:
    assert looked(place) == []


def test_wrong_content_is_found(place: Place) -> None:
    place.put(IMAGE, f'{{"uuid": "{ONE}"}}{secret_password(OTHER, 3)}'.encode())
    assert looked(place) == ["content"]


@pytest.mark.parametrize("name", [f"i-2-1-vm.{OTHER}.3.iso", f"i-2-0-vm.{ONE}.2.iso"])
def test_wrong_image_in_the_drive_is_found_and_never_excused(place: Place, name: str) -> None:
    place.put(name, b"")
    place.world.insert(ONE, StorageName(LOCAL), name)
    place.frozen = True
    assert "drive" in looked(place)


def test_empty_drive_is_found_unless_a_worker_stood_still(place: Place) -> None:
    record = place.world.vm(ONE)
    assert record is not None
    place.world.records.put(replace(record, config={}))
    assert looked(place) == ["empty drive"]
    place.frozen = True
    assert looked(place) == []


def test_another_image_is_found_unless_a_worker_stood_still(place: Place) -> None:
    place.put(f"i-2-0-vm.{ONE}.2.iso", b"", host="h2")
    assert looked(place) == ["images"]
    place.frozen = True
    assert looked(place) == []
