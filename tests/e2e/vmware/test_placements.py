"""The life of a drive on vSAN, which takes no folder at its top, and in VMs' own directories, with moves in between."""

import pytest

from configdrive.contract.outcome import Status
from tests.e2e.orchestrator import GUEST
from tests.e2e.vmware.conftest import NewVm
from tests.e2e.vmware.life import Life

BESIDE_ITS_VM = {("h1", "vsan"), ("in-directories", "shared")}


def inside(vm: Life) -> str:
    """The directory of what is in its drive."""
    medium = vm.medium()
    assert medium is not None
    return medium.rpartition("/")[0]


def of_vm(vm: Life) -> list[str]:
    """Every directory that is called as the VM is, on any datastore."""
    root = vm.cloud.center.directory / "datastores"
    return [str(path.relative_to(root)) for path in root.glob(f"*/{vm.name}")]


@pytest.mark.parametrize(
    ("host", "first", "second"),
    [("h1", "vsan", "vsan-2"), ("in-folders", "vsan", "vsan-2"), ("in-directories", "shared", "other")],
)
def test_a_vm_moves_twice_and_leaves_nothing_on_either_datastore(
    new_vm: NewVm, host: str, first: str, second: str
) -> None:
    vm = new_vm(first, host)
    beside = (host, first) in BESIDE_ITS_VM
    started = vm.send("start", guest=GUEST)
    assert (started.status, started.facts["storage"]) == (Status.APPLIED, first)
    assert (inside(vm) == f"[{first}] {vm.name}") is beside
    vm.power_on()
    before = vm.images()
    vm.cloud.relocate(vm.name, datastore=second)
    assert (vm.images(), [vm.medium()]) == (before, before)  # vSphere leaves it where it is

    assert vm.send("start", guest=GUEST).status is Status.APPLIED  # with the next fresh image
    assert vm.images() == [vm.medium()]
    assert (inside(vm) == f"[{second}] {vm.name}") is beside
    assert of_vm(vm) == [f"{second}/{vm.name}"]
    vm.power_off()
    assert vm.send("stop").status is Status.APPLIED
    assert (vm.images(), vm.medium()) == ([], None)

    assert vm.send("start", guest=GUEST).status is Status.APPLIED
    vm.cloud.relocate(vm.name, datastore=first)
    vm.cloud.destroy(vm.name)
    destroyed = vm.send("destroy")
    assert (destroyed.status, destroyed.facts.get("left_behind")) == (Status.APPLIED, None)
    assert (vm.images(), of_vm(vm)) == ([], [])
