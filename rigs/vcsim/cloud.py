"""VMs on the simulated vCenter, and what is done to them past the driver, as an administrator would."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from pyVmomi import SoapStubAdapter, vim

from rigs.process import LOOPBACK, RigError
from rigs.vcsim.server import PASSWORD, USER, VCenter

IDE_1_0: Final = (201, 0)
"""Controller key and unit of the drive in which users have their own ISOs."""

IDE_1_1: Final = (201, 1)
"""Controller key and unit of the config drive, unless the inventory says otherwise."""

_device = vim.vm.device
_ADD: Final = "add"


class Cloud:
    """A session of an administrator at the simulator itself, past the front: nothing of it is counted or broken."""

    def __init__(self, center: VCenter) -> None:
        self.center = center
        self._stub = SoapStubAdapter(LOOPBACK, -center.plain_port, version="vim.version.version13")
        self._content: Any = vim.ServiceInstance("ServiceInstance", self._stub).RetrieveContent()
        self._content.sessionManager.Login(USER, PASSWORD)
        self._datacenters: list[Any] = list(self._content.rootFolder.childEntity)
        computes = [one for datacenter in self._datacenters for one in datacenter.hostFolder.childEntity]
        self._hosts: dict[str, Any] = {host.name: host for compute in computes for host in compute.host}

    def close(self) -> None:
        """Close its connections."""
        self._stub.DropConnections()

    def define(  # noqa: PLR0913  # what a VM consists of
        self,
        uuid: str,
        name: str,
        *,
        datastore: str,
        host: str | None = None,
        drive: bool = True,
        running: bool = False,
        by_instance_uuid: bool = False,
    ) -> str:
        """Make a VM with a root disk on a datastore; returns its managed object reference.

        Args:
            uuid: its BIOS uuid, as CloudStack gives it.
            name: on the vCenter.
            datastore: of its root disk and configuration.
            host: it is registered on; the first one otherwise.
            drive: with an empty CD drive in the config drive's place.
            running: powered on.
            by_instance_uuid: the uuid is the instance uuid, and the BIOS has another one.
        """
        if self._find(name) is not None:  # the simulator would take it
            raise RigError(f"there is a VM {name} already")
        scsi = _device.ParaVirtualSCSIController(
            key=-1, busNumber=0, sharedBus=_device.VirtualSCSIController.Sharing.noSharing
        )
        disk = _device.VirtualDisk(
            key=-2,
            controllerKey=-1,
            unitNumber=0,
            capacityInKB=1024,
            backing=_device.VirtualDisk.FlatVer2BackingInfo(fileName=f"[{datastore}]", diskMode="persistent"),
        )
        changes = [
            _device.VirtualDeviceSpec(operation=_ADD, device=scsi),
            _device.VirtualDeviceSpec(operation=_ADD, fileOperation="create", device=disk),
        ]
        if drive:
            changes.append(_device.VirtualDeviceSpec(operation=_ADD, device=empty_cd(*IDE_1_1)))
        spec = vim.vm.ConfigSpec(
            name=name,
            guestId="otherGuest64",
            memoryMB=64,
            numCPUs=1,
            deviceChange=changes,
            files=vim.vm.FileInfo(vmPathName=f"[{datastore}]"),
            **({"instanceUuid": uuid} if by_instance_uuid else {"uuid": uuid}),
        )
        where = self._hosts[host or self.center.hosts[0]]
        folder = self._datacenter_of(where).vmFolder
        self.run(folder.CreateVM_Task, config=spec, pool=where.parent.resourcePool, host=where)
        if running:
            self.start(name)
        return self.reference(name)

    def reference(self, name: str) -> str:
        """Return the managed object reference of the VM of this name."""
        return str(self.vm(name)._moId)

    def vm(self, name: str) -> Any:  # noqa: ANN401  # pyvmomi's objects carry no useful types
        """Return the VM of this name."""
        found = self._find(name)
        if found is None:
            raise RigError(f"there is no VM {name}")
        return found

    def _find(self, name: str) -> Any:  # noqa: ANN401
        index, escaped = self._content.searchIndex, name.replace("/", "%2f")
        found = (index.FindByInventoryPath(f"{one.name}/vm/{escaped}") for one in self._datacenters)
        return next((one for one in found if one is not None), None)

    def _datacenter_of(self, host: Any) -> Any:  # noqa: ANN401
        return next(one for one in self._datacenters if host.parent in one.hostFolder.childEntity)

    def datastore(self, name: str) -> Any:  # noqa: ANN401
        """Return the datastore of this name, `DC1/shared` that of another datacenter than the first."""
        datacenter, _, last = name.rpartition("/")
        hosts = [host for host in self._hosts.values() if datacenter in {"", self._datacenter_of(host).name}]
        return next(store for host in hosts for store in host.datastore if store.name == last)

    def identity(self, name: str) -> str:
        """Return the identity of a datastore: of its vCenter and of itself."""
        return f"{self.server}/{self.datastore(name)._moId}"

    @property
    def server(self) -> str:
        """The identity of the vCenter; of a stand-alone host that one's."""
        host = next(iter(self._hosts.values()))
        return str(self._content.about.instanceUuid or host.summary.hardware.uuid)

    def start(self, name: str) -> None:
        """Power it on."""
        self.run(self.vm(name).PowerOnVM_Task)

    def stop(self, name: str) -> None:
        """Power it off, hard."""
        self.run(self.vm(name).PowerOffVM_Task)

    def suspend(self, name: str) -> None:
        """Suspend it."""
        self.run(self.vm(name).SuspendVM_Task)

    def destroy(self, name: str) -> None:
        """Delete it with its disks."""
        with suppress(RigError):
            self.stop(name)
        self.run(self.vm(name).Destroy_Task)

    def relocate(self, name: str, *, host: str | None = None, datastore: str | None = None) -> None:
        """Move it to another host, in another datacenter maybe, its disks to another datastore."""
        vm, spec = self.vm(name), vim.vm.RelocateSpec()
        if host is not None:
            spec.host = self._hosts[host]
            folder = self._datacenter_of(spec.host).vmFolder
            if vm.parent != folder:
                spec.folder, spec.pool = folder, spec.host.parent.resourcePool
        if datastore is not None:
            spec.datastore = self.datastore(datastore)
        self.run(vm.RelocateVM_Task, spec=spec)

    def clone(self, name: str, new: str, *, linked: bool = False) -> str:
        """Make a copy of a VM or template, whatever is in its drives; returns the BIOS uuid that vSphere has given it.

        Args:
            name: of the original; a template is deployed as it is.
            new: of the copy.
            linked: its disk is a child of the original's.
        """
        original = self.vm(name)
        where = vim.vm.RelocateSpec(pool=original.runtime.host.parent.resourcePool)
        if linked:
            where.diskMoveType = "createNewChildDiskBacking"
        spec = vim.vm.CloneSpec(location=where, powerOn=False, template=False)
        self.run(original.CloneVM_Task, folder=original.parent, name=new, spec=spec)
        return str(self.vm(new).config.uuid)

    def make_template(self, name: str) -> None:
        """Turn a VM into a template."""
        self.vm(name).MarkAsTemplate()

    def add_host(self, datacenter: str, cluster: str, name: str) -> None:
        """Let a host join a cluster."""
        compute = self._content.searchIndex.FindByInventoryPath(f"{datacenter}/host/{cluster}")
        spec = vim.host.ConnectSpec(hostName=name, userName="root", password="secret", force=True)  # noqa: S106
        self.run(compute.AddHost_Task, spec=spec, asConnected=True)
        self._hosts[name] = next(host for host in compute.host if host.name == name)

    def media(self, name: str) -> dict[tuple[int, int], str]:
        """Return (controller key, unit) -> path of what is in each CD drive, or will be at the next power-on."""
        return {
            (drive.controllerKey, drive.unitNumber): drive.backing.fileName
            for drive in self.drives(name)
            if isinstance(drive.backing, _device.VirtualCdrom.IsoBackingInfo) and drive.connectable.startConnected
        }

    def drives(self, name: str) -> list[Any]:
        """Return all CD drives."""
        return [one for one in self.vm(name).config.hardware.device if isinstance(one, _device.VirtualCdrom)]

    def insert(self, name: str, path: str, slot: tuple[int, int] = IDE_1_1) -> None:
        """Put an ISO into a drive, which is made when it is not there."""
        vm = self.vm(name)
        there = next((one for one in self.drives(name) if (one.controllerKey, one.unitNumber) == slot), None)
        drive = there or empty_cd(*slot)
        drive.backing = _device.VirtualCdrom.IsoBackingInfo(fileName=path)
        drive.connectable.startConnected = True
        self._change(vm, _ADD if there is None else "edit", drive)

    def disconnect(self, name: str) -> None:
        """Let the guest eject what is in its drives; it stays theirs for the next power-on."""
        for drive in self.drives(name):
            drive.connectable.connected = False
            self._change(self.vm(name), "edit", drive)

    def file(self, path: str) -> Path:
        """Return where the file of a datastore path lies."""
        datastore, _, inner = path.removeprefix("[").partition("] ")
        return self.center.datastore(datastore) / inner

    def run(self, method: Callable[..., Any], **arguments: object) -> None:
        """Call a method that makes a task, which the simulator has done when it answers.

        Raises:
            RigError: the task failed.
        """
        task = method(**arguments)
        if task.info.state != "success":
            raise RigError(f"{task.info.name}: {type(task.info.error).__name__}")

    def _change(self, vm: Any, operation: str, device: object) -> None:  # noqa: ANN401
        change = _device.VirtualDeviceSpec(operation=operation, device=device)
        self.run(vm.ReconfigVM_Task, spec=vim.vm.ConfigSpec(deviceChange=[change]))


def empty_cd(controller: int, unit: int) -> Any:  # noqa: ANN401
    """Return a CD drive with nothing in it."""
    return _device.VirtualCdrom(
        key=-9,
        controllerKey=controller,
        unitNumber=unit,
        backing=_device.VirtualCdrom.RemotePassthroughBackingInfo(deviceName="", exclusive=False),
        connectable=_device.VirtualDevice.ConnectInfo(startConnected=False, allowGuestControl=True, connected=False),
    )
