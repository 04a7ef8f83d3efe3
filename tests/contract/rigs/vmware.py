"""The vSphere driver's rig: govmomi's simulator as a vCenter with two hosts, behind a front as strict as a real one."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from configdrive.model import IMAGE_FOLDER, HostName, Image, ImageName, Place, PowerState, StorageName, Vm
from rigs.vcsim.cloud import IDE_1_0, Cloud
from rigs.vcsim.server import VCenter
from tests.contract.rig import DriverRig, ImageFiles, image_name, new_vm, replaced
from tests.support import require_rig
from workers.hypervisors.vmware.driver import VmwareDriver

HOST = HostName("h1")
USER_ISO = "[shared] isos/debian-12.iso"


class VmwareRig:
    """A vCenter with a datastore that both its hosts share, and one of the first host alone."""

    def __init__(self, center: VCenter, cloud: Cloud) -> None:
        self.host = HOST
        self.home = Place(StorageName("shared"), None, cloud.identity("shared"))
        self.second = Place(StorageName("local-1"), HOST, cloud.identity("local-1"))
        self.files = ImageFiles(
            {place: center.datastore(place.storage) / IMAGE_FOLDER for place in (self.home, self.second)}
        )
        self._center = center
        self._cloud = cloud
        user_iso = cloud.file(USER_ISO)
        user_iso.parent.mkdir()
        user_iso.write_bytes(bytes(4096))

    def make_driver(self, *, force_eject: bool = True) -> VmwareDriver:
        return VmwareDriver.from_inventory(
            self._center.inventory({HOST: {"esxi": "esx-01"}}), force_eject=force_eject, call_timeout=20.0
        )

    def define_vm(self, power: PowerState = PowerState.HALTED, *, drive: bool = True, name: str | None = None) -> Vm:
        vm = new_vm("vmware", self.host, name)
        self._cloud.define(
            vm.uuid, vm.instance_name, datastore="shared", drive=drive, running=power is PowerState.RUNNING
        )
        return vm

    def start_vm(self, vm: Vm) -> None:
        self._cloud.start(vm.instance_name)

    def stop_vm(self, vm: Vm) -> None:
        self._cloud.stop(vm.instance_name)

    def medium(self, vm: Vm) -> bytes | None:
        images = [path for path in self._cloud.media(vm.instance_name).values() if path != USER_ISO]
        assert len(images) <= 1
        return self._cloud.file(images[0]).read_bytes() if images else None

    def is_read_only(self, vm: Vm) -> bool:
        """A CD drive's ISO is never written to."""
        return bool(self._cloud.drives(vm.instance_name))

    def insert(self, vm: Vm, name: ImageName, place: Place) -> None:
        self._cloud.insert(vm.instance_name, f"[{place.storage}] configdrive/{name}")

    def insert_user_iso(self, vm: Vm) -> None:
        self._cloud.insert(vm.instance_name, USER_ISO, IDE_1_0)

    def has_user_iso(self, vm: Vm) -> bool:
        return self._cloud.media(vm.instance_name).get(IDE_1_0) == USER_ISO

    def lock_tray(self, vm: Vm) -> None:
        self._center.lock_tray(self._cloud.reference(vm.instance_name))

    def leave_half_upload(self, image: Image, place: Place) -> None:
        self.files.put(place, f"{image.name}.part", image.content[: len(image.content) // 2])

    def host_down(self) -> AbstractContextManager[None]:
        return self._center.down()

    def chaos(self, vm: Vm) -> dict[str, AbstractContextManager[None]]:
        image = self.files.path(self.home, str(image_name(vm)))
        ways: dict[str, AbstractContextManager[None]] = {
            "the vCenter is gone": self._center.down(),
            "a datastore is not accessible": self._center.datastore_is("shared", accessible="false"),
            "a datastore is in maintenance": self._center.datastore_is("shared", maintenance="inMaintenance"),
            "every session ends at once": self._center.broken({"method": "*", "fault": "NotAuthenticated"}),
            "every answer is a gateway's": self._center.broken({"method": "*", "status": 503}),
            "every connection dies": self._center.broken({"method": "*", "close": True}),
            "every answer is lost": self._center.broken({"method": "*", "close": True, "after": True}),
            "answers are no XML": self._center.broken({"method": "RetrievePropertiesEx", "status": 200}),
            "the folder's images are a file": replaced(image.parent, lambda path: path.touch()),
            "an image is a folder": replaced(image, lambda path: path.mkdir()),
        }
        for fault in ("RuntimeFault", "SystemError"):  # known ones: tests/integration/vmware/test_faults.py
            tasks = ("ReconfigVM_Task", "SearchDatastore_Task", "MoveDatastoreFile_Task", "DeleteDatastoreFile_Task")
            rules = [{"method": task, "fault": fault, "task": True} for task in tasks]
            ways[f"tasks fail with {fault}"] = self._center.broken(*rules)
        return ways


@contextmanager
def _open(folder: Path) -> Iterator[DriverRig]:
    with require_rig():
        center = VCenter(folder, {"shared": ["esx-01", "esx-02"], "local-1": ["esx-01"], "local-2": ["esx-02"]})
    with center, closing(Cloud(center)) as cloud:
        yield VmwareRig(center, cloud)


RIGS = {"vmware": _open}
