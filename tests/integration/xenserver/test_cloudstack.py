"""Apache CloudStack's VMs: made at each start under the same label, with another uuid, and destroyed at each stop.

Its sources: `CitrixStartCommandWrapper.java` (`createVmFromTemplate`, after a halted VM of that label was destroyed),
`CitrixStopCommandWrapper.java` (`vm.destroy`); its own CD drive is at 3 (`CitrixResourceBase.java`, `createVbd`).
"""

from dataclasses import dataclass, field, replace

import pytest

from configdrive.contract.outcome import Outcome, Status
from configdrive.errors import PermanentCode
from configdrive.lifecycle.reconcile import Reconciler
from configdrive.model import DriveSettings, ImageName, VmUuid
from rigs.xapi import Drive
from tests.integration.xenserver.cloud import NFS, A, Cloud
from tests.support import error_of
from tests.unit.fakes.fleet import Fleet, read_image
from tests.unit.workers.cloudstack.cloud import RECORD
from tests.unit.workers.cloudstack.cloud import Cloud as CloudStack
from tests.unit.workers.cloudstack.recorded import UUID, state
from workers.hypervisors.xenserver.driver import XenServerDriver

BY_LABEL = "uuid-or-label"
NAME = RECORD.instance_name


@dataclass
class Life:
    """The VM in CloudStack, its adapter, and the fleet that works on what that publishes."""

    cloud: Cloud
    driver: XenServerDriver
    cloudstack: CloudStack = field(
        default_factory=lambda: CloudStack(hosts={"h1": A}, record=replace(RECORD, hypervisor="XenServer"))
    )
    state: str = "Stopped"
    second: int = 0
    worked_on: int = 0

    def __post_init__(self) -> None:
        self.fleet = Fleet(sealer=self.cloudstack.sealer)
        one = self.fleet
        one.reconciler = Reconciler(
            {self.driver.name: self.driver}, one.sealer, one.namer, one.clock, one.observer, drives=DriveSettings()
        )

    def start(self) -> str:
        """Make the VM and let it run, as CloudStack does; answers its uuid in XAPI."""
        uuid = self.cloud.site.define_vm(NAME, self.cloud.storages[NFS])
        self.cloud.site.add_cd(uuid, "3")
        self.cloud.site.start_vm(uuid, A)
        self._comes_to("Running", "h1")
        return uuid

    def stop(self, uuid: str) -> None:
        """Shut it down and destroy it, as CloudStack does."""
        self.cloud.site.stop_vm(uuid)
        self.cloud.call("VM.destroy", self.cloud.call("VM.get_by_uuid", uuid))
        self._comes_to("Stopped")

    def expunge(self) -> None:
        self._comes_to("Expunging")

    def work(self) -> list[Outcome]:
        """Work on all that was published since."""
        events = self.cloudstack.events[self.worked_on :]
        self.worked_on += len(events)
        return [self.fleet.handle(event).outcome for event in events]

    def drives(self, uuid: str) -> list[Drive]:
        """Those with an image of the fleet in them."""
        return [one for one in self.cloud.site.drives(uuid) if one.location and ImageName.parse(one.location)]

    def _comes_to(self, new: str, host: str | None = None) -> None:
        old, self.state, self.second = self.state, new, self.second + 1
        self.cloudstack.now(new, host)
        self.cloudstack.take(state(old, new, self.second))


@pytest.mark.parametrize("borrow", [False, True])
def test_it_is_found_by_its_instance_name_though_it_is_another_vm_after_each_start(
    cloud: Cloud, *, borrow: bool
) -> None:
    life = Life(cloud, cloud.driver(borrow_empty_cd=borrow, identify_by=BY_LABEL))
    for _ in range(2):
        uuid = life.start()
        (started,) = life.work()
        facts = {name: started.facts.get(name) for name in ("attach", "device", "seen_as", "borrowed", "needs")}
        now = {"attach": "inserted", "device": "xvdd", "seen_as": "cdrom", "borrowed": "xvdd", "needs": None}
        later = {"attach": "next_boot", "device": "xvdc", "seen_as": "cdrom", "borrowed": None, "needs": None}
        assert facts == (now if borrow else later)
        if not borrow:
            cloud.call("VM.clean_reboot", cloud.call("VM.get_by_uuid", uuid))  # by its tenant, or CloudStack
        (drive,) = life.drives(uuid)
        assert (drive.attached, drive.seen) == (True, True)
        assert drive.content is not None
        assert read_image(drive.content)["cloudstack/metadata/vm_id.txt"].decode() == UUID
        life.stop(uuid)  # and its drives with it
        assert [outcome.status for outcome in life.work()] == [Status.APPLIED]
        assert cloud.images(NFS) == {}
    uuid = life.start()
    life.work()
    life.expunge()
    assert {outcome.status for outcome in life.work()} == {Status.APPLIED}
    assert (life.drives(uuid), cloud.images(NFS)) == ([], {})


@pytest.mark.parametrize("twice", [False, True])
def test_without_the_option_and_with_two_of_that_name_it_is_not_found(cloud: Cloud, *, twice: bool) -> None:
    life = Life(cloud, cloud.driver(identify_by=BY_LABEL if twice else "uuid"))
    life.start()
    if twice:
        cloud.site.define_vm(NAME, cloud.storages[NFS])
    assert error_of(life.work).code is PermanentCode.VM_NOT_FOUND
    assert cloud.images(NFS) == {}
    assert VmUuid(UUID) not in {vm.uuid for vm in life.driver.survey(A).vms}
