"""Whole events, the toolstack restarted at each call that they make: the next event is applied, and nothing is left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from configdrive.contract.outcome import Outcome, Status
from configdrive.errors import TransientError
from configdrive.lifecycle import state
from configdrive.lifecycle.leftovers import Cleaner
from configdrive.lifecycle.reconcile import Reconciler
from configdrive.model import DriveSettings, ImageName
from rigs.xapi import XapiPool
from rigs.xapi.faults import Fault, Kind
from tests.integration.xenserver.cloud import NFS, A, B, Cloud
from tests.support import require_rig
from tests.unit.fakes.fleet import HELLO, Fleet, read_image
from workers.hypervisors.xenserver import iso_sr
from workers.hypervisors.xenserver.driver import XenServerDriver

ATTEMPTS = 2
"""One restart costs one attempt at most."""

OTHER: dict[str, object] = {"user_data": {"text": "another"}}


@dataclass
class Life:
    """A halted VM, and its events, one after the other: by the real use case and the real driver."""

    cloud: Cloud
    driver: XenServerDriver
    fleet: Fleet = field(default_factory=Fleet)

    def __post_init__(self) -> None:
        self.vm = self.cloud.vm()
        self.drives = self.cloud.site.drives(self.vm.uuid)
        self.work_with(self.driver)

    def work_with(self, driver: XenServerDriver) -> None:
        """Have the next event worked on with this driver, as one process has it."""
        one, self.driver = self.fleet, driver
        one.reconciler = Reconciler(
            {driver.name: driver}, one.sealer, one.namer, one.clock, one.observer, drives=DriveSettings()
        )

    def send(self, word: str, **data: Any) -> Outcome:  # noqa: ANN401 - fields of an event
        """Have an event worked on as the queue does: again, until it ends."""
        vm = {"uuid": self.vm.uuid, "instance_name": self.vm.instance_name}
        event = self.fleet.event(word, vm=vm, hypervisor="xenserver", host=A, **data)
        for attempt in range(1, ATTEMPTS):
            with suppress(TransientError):
                return self.fleet.handle(event, attempt=attempt).outcome
        return self.fleet.handle(event, attempt=ATTEMPTS).outcome

    def collect(self) -> None:
        """Do what the leftover pass does after a while: an image whose deletion broke off fails no event."""
        fleet = self.fleet
        known = state.load(fleet.remembered, fleet.sealer, self.vm.uuid)
        for left in known.left:
            known = replace(known, left=Cleaner(self.driver, fleet.lease).clean(known, left.host).left)
        assert known.left == ()

    def user_data(self) -> str | None:
        content = self.cloud.medium(self.vm)
        return None if content is None else read_image(content)["cloudstack/userdata/user_data.txt"].decode()

    def left(self) -> object:
        """What is there of the VM, and should not be."""
        drives = self.cloud.site.drives(self.vm.uuid)
        vdis = [one["location"] for one in self.cloud.call("VDI.get_all_records").values()]
        dom0s = {one["control_domain"] for one in self.cloud.call("host.get_all_records").values()}
        vbds = [one for one in self.cloud.call("VBD.get_all_records").values() if one["VM"] in dom0s]
        images = [one for one in vdis if (name := ImageName.parse(one)) and name.vm_uuid == self.vm.uuid]
        return [*self.cloud.images(NFS), *images, *vbds, *(one for one in drives if one not in self.drives)]


def after_a_start(life: Life) -> None:
    assert life.user_data() == "another"
    assert life.send("stop").status is Status.APPLIED
    assert life.cloud.site.drives(life.vm.uuid) == life.drives


def after_a_stop(life: Life) -> None:
    assert life.cloud.site.drives(life.vm.uuid) == life.drives
    assert life.send("start", guest=OTHER).status is Status.APPLIED
    assert life.user_data() == "another"


def after_a_destroy(life: Life) -> None:
    """Another destroy, which ends every life here, is all that may come."""


EVENTS: dict[str, Callable[[Life], None]] = {
    "first start": after_a_start,
    "start": after_a_start,
    "stop": after_a_stop,
    "another process's destroy": after_a_destroy,
}
"""Each with what comes next. A first start finds a pool that knows nothing of the fleet; the others, a VM's image."""


@contextmanager
def new_cloud(directory: Path) -> Iterator[Cloud]:
    with require_rig():
        pool = XapiPool(directory, (A, B))
    with pool:
        cloud = Cloud(pool)
        yield cloud
        cloud.close()


@pytest.mark.parametrize("event", EVENTS)
def test_wherever_the_toolstack_is_restarted_the_next_event_is_applied_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, event: str
) -> None:
    monkeypatch.setattr(iso_sr, "CLAIM_SECONDS", -2.0)  # a lost attempt's is over: nobody waits for its end
    first, data = event == "first start", {"guest": OTHER} if "start" in event else {}

    def run(cloud: Cloud, driver: XenServerDriver, fault: Fault | None = None) -> list[str]:
        """Live a life with the fault in the event; answers which calls that made, in order."""
        life = Life(cloud, driver)
        if not first:
            assert life.send("start", guest=HELLO).status is Status.APPLIED
        if event.startswith("another"):
            life.work_with(cloud.driver())
        cloud.pool.world.called.clear()
        if fault is not None:
            cloud.pool.faults.plant("*", fault)
        outcome = life.send(event.rsplit(maxsplit=1)[-1], **data)
        made = list(cloud.pool.world.called)
        assert (outcome.status, outcome.code) == (Status.APPLIED, None)
        EVENTS[event](life)
        life.send("destroy")
        life.collect()
        assert life.left() == []
        assert len(cloud.iso_srs()) == 1
        return made

    with new_cloud(tmp_path / "all") as shared:
        driver = shared.driver()

        def broken_at(number: int, kind: Kind) -> str:
            with new_cloud(tmp_path / f"{kind} {number}") if first else nullcontext(shared) as cloud:
                restart = partial(cloud.pool.restart_toolstack, A)
                fault = Fault(kind, meanwhile=restart, passes=number)
                run(cloud, cloud.driver() if first else driver, fault)
                return fault.met

        calls = run(shared, driver)
        changes = {number: method for number, method in enumerate(calls) if ".get_" not in method}
        assert changes
        # Of reads in a row the last one stands for all: nothing has changed between them.
        steps = {number: method for number, method in enumerate(calls) if {number, number + 1} & {*changes, len(calls)}}
        assert {number: broken_at(number, Kind.DROP_AFTER) for number in steps} == steps
        assert {number: broken_at(number, Kind.DROP_BEFORE) for number in changes} == changes
