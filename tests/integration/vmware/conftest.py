"""One simulated vCenter with two hosts for all of these tests; each test has VMs of its own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass

import pytest

from configdrive.model import HostName, Image, Place, PowerState, StorageName, Vm
from tests.contract.rig import make_image, new_vm
from tests.support import require_rig

pytest.importorskip("pyVmomi")

from rigs.vcsim.cloud import Cloud
from rigs.vcsim.server import VCenter
from workers.hypervisors.vmware.driver import VmwareDriver

BOTH = ("esx-01", "esx-02")
DATASTORES = {
    "shared": BOTH,
    "other": BOTH,
    "local-1": BOTH[:1],
    "local-2": BOTH[1:],
    "pod-a": BOTH,
    "pod-b": BOTH,
    "vsan": BOTH,
    "vsan-2": BOTH,
}
VSAN = ("vsan", "vsan-2")
HOSTS: dict[str, dict[str, object]] = {"h1": {"esxi": "esx-01"}, "h2": {"esxi": "esx-02"}, "all": {}}


@dataclass(frozen=True, slots=True)
class Site:
    """The vCenter, and an administrator of it."""

    center: VCenter
    cloud: Cloud

    def define(  # as the cloud's
        self,
        power: PowerState = PowerState.HALTED,
        *,
        host: str = "h1",
        datastore: str = "shared",
        drive: bool = True,
        by_instance_uuid: bool = False,
    ) -> Vm:
        """Make a VM on a host of the inventory."""
        vm = new_vm("vmware", HostName(host))
        self.cloud.define(
            vm.uuid,
            vm.instance_name,
            datastore=datastore,
            host=str(HOSTS[host].get("esxi", "esx-01")),
            drive=drive,
            running=power is PowerState.RUNNING,
            by_instance_uuid=by_instance_uuid,
        )
        return vm

    @property
    def shared(self) -> Place:
        """The datastore of most root disks, which both hosts see."""
        return self.place("shared")

    @property
    def other(self) -> Place:
        """Another one."""
        return self.place("other")

    def place(self, datastore: str, host: str | None = None) -> Place:
        """Say which datastore is meant; `host` is the one that sees it alone."""
        last = datastore.rpartition("/")[2]
        return Place(StorageName(last), None if host is None else HostName(host), self.cloud.identity(datastore))

    def files(self, vm: Vm) -> list[str]:
        """Every file whose name holds the VM's uuid, as `<datastore>/<file>`."""
        root = self.center.directory / "datastores"
        return sorted(f"{path.relative_to(root).parts[0]}/{path.name}" for path in root.rglob(f"*{vm.uuid}*"))


MakeDriver = Callable[..., VmwareDriver]
"""Makes a driver; keyword arguments change the endpoint's table, `hosts` replaces the hosts'."""


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with require_rig():
        center = VCenter(tmp_path_factory.mktemp("vcsim"), DATASTORES, pods={"pod": ("pod-a", "pod-b")}, vsan=VSAN)
    with center, closing(Cloud(center)) as cloud:
        yield Site(center, cloud)


@pytest.fixture
def make_driver(site: Site) -> Iterator[MakeDriver]:
    with ExitStack() as stack:

        def make(
            *,
            hosts: dict[str, dict[str, object]] | None = None,
            call_timeout: float = 20.0,
            **endpoint: object,
        ) -> VmwareDriver:
            table = site.center.inventory(HOSTS if hosts is None else hosts, **endpoint)
            made = VmwareDriver.from_inventory(table, call_timeout=call_timeout)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def driver(make_driver: MakeDriver) -> VmwareDriver:
    return make_driver()


def give(driver: VmwareDriver, vm: Vm, place: Place | None = None, generation: int = 1) -> Image:
    """Upload an image, to where the VM's images belong unless another place is named, and attach it."""
    image = make_image(vm, generation)
    place = place or driver.observe(vm).storage
    assert place is not None
    driver.upload(vm, image, place)
    driver.attach(vm, image.name, place)
    return image
