"""Finding and reading VMs: one round trip to find one, one to read it with the datastores that it uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pyVmomi import vim, vmodl

from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.model import PowerState
from workers.hypervisors.vmware.inventory import Identity
from workers.hypervisors.vmware.paths import directory_of, split
from workers.hypervisors.vmware.records import Drive, SeenVm
from workers.hypervisors.vmware.session import key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from configdrive.model import Vm, VmUuid
    from workers.hypervisors.vmware.session import Found, Session
    from workers.hypervisors.vmware.sessions import Server

_POWER: Final = {
    "poweredOn": PowerState.RUNNING,
    "poweredOff": PowerState.HALTED,
    "suspended": PowerState.SUSPENDED,
}
PROPERTIES: Final = (
    "name",
    "config.uuid",
    "config.instanceUuid",
    "config.template",
    "config.changeVersion",
    "config.hardware.device",
    "config.bootOptions.bootOrder",
    "config.files.vmPathName",
    "datastore",
    "runtime.powerState",
    "runtime.connectionState",
    "runtime.host",
    "runtime.question",
)
_STORE_STATE: Final = ("name", "summary.accessible", "summary.maintenanceMode")


def find_vm(server: Server, vm: Vm, by: Sequence[Identity], inside: Callable[[SeenVm], bool]) -> SeenVm | None:
    """Find and read a VM; `None` when none is `inside`.

    Raises:
        PermanentError: `NOT_ITS_DRIVE` when several VMs bear its uuid, or the one of its name has another VM's image.
        TransientError: `HOST_UNREACHABLE` when vSphere itself does not reach it.
        vmodl.MethodFault: what the server answered.
    """
    for way, vms in _found(server, vm, by):
        there = [one for one in vms if inside(one)]
        named = [one for one in there if one.name == vm.instance_name] if len(there) > 1 else there
        if len(there) > 1 and len(named) != 1:
            detail = f"{len(there)} VMs bear the {way.value} of VM {vm.instance_name} ({vm.uuid})"
            raise PermanentError(PermanentCode.NOT_ITS_DRIVE, detail, "give each VM a uuid of its own")
        if not named:
            continue
        if way is Identity.NAME:
            _require_unmarked(named[0], vm)
        else:
            server.vms.keep(vm.uuid, key_of(named[0].ref))
        return named[0]
    return None


def find_all(server: Server, vm: Vm, by: Sequence[Identity]) -> list[SeenVm]:
    """Find and read every VM that may be meant, on whichever host of the server.

    Raises:
        TransientError: `HOST_UNREACHABLE` when vSphere itself does not reach one.
        vmodl.MethodFault: what the server answered.
    """
    return next((vms for _, vms in _found(server, vm, by) if vms), [])


def _found(server: Server, vm: Vm, by: Sequence[Identity]) -> Iterator[tuple[Identity, list[SeenVm]]]:
    """Give the VMs that are meant, by each way to find one: uuids first; a name is nobody's own."""
    uuids = [way for way in by if way is not Identity.NAME]
    known = server.vms.get(vm.uuid)
    if known is not None:
        vms = _read(server, [server.session.reference(vim.VirtualMachine, known)], vm, uuids)
        if vms:
            yield uuids[0], vms
            return
        server.vms.forget(vm.uuid)
    for way in (*uuids, *(way for way in by if way is Identity.NAME)):
        candidates = _candidates(server.session, vm, way)
        if candidates:
            yield way, _read(server, candidates, vm, [way])


def _require_unmarked(seen: SeenVm, vm: Vm) -> None:
    """Refuse a VM that was found by its name alone and has another VM's image in a drive."""
    owners = {image.vm_uuid for image, _ in seen.fleet_drives}
    if owners and vm.uuid not in owners:
        detail = f"VM {seen.name} was found by its name, and a drive of it holds the image of VM {min(owners)}"
        raise PermanentError(PermanentCode.NOT_ITS_DRIVE, detail, "let 'identify_by' name a uuid in the inventory")


def _candidates(session: Session, vm: Vm, way: Identity) -> list[Any]:
    if way is Identity.NAME:
        return [
            one.ref for one in session.all_of({vim.VirtualMachine: ["name"]}) if one.get("name") == vm.instance_name
        ]
    by_instance = way is Identity.INSTANCE_UUID
    index = session.content.searchIndex
    return list(index.FindAllByUuid(uuid=vm.uuid, vmSearch=True, instanceUuid=by_instance) or ())


def _read(server: Server, references: Sequence[Any], vm: Vm, by: Sequence[Identity]) -> list[SeenVm]:
    """Read VMs that are the one meant, and what state their datastores are in."""
    wanted = {vim.VirtualMachine: PROPERTIES, vim.Datastore: _STORE_STATE}
    try:
        found = server.session.retrieve(wanted, references, [(vim.VirtualMachine, "datastore")], [vim.Datastore])
    except vmodl.fault.ManagedObjectNotFound:
        return []
    stores = [one for one in found if isinstance(one.ref, vim.Datastore) and one.refused is None]
    server.topology.change(lambda topology: topology.seen(stores))
    vms = [one for one in found if isinstance(one.ref, vim.VirtualMachine) and not one.get("config.template")]
    meant = [one for one in vms if _is_meant(one, vm, by)]
    for one in meant:
        _require_reached(one)
    return [vm_of(one, vm.uuid) for one in meant]


def _is_meant(found: Found, vm: Vm, by: Sequence[Identity]) -> bool:
    marks = {
        Identity.BIOS_UUID: str(found.get("config.uuid")).lower() == vm.uuid,
        Identity.INSTANCE_UUID: str(found.get("config.instanceUuid")).lower() == vm.uuid,
        Identity.NAME: found.get("name") == vm.instance_name,
    }
    return any(marks[way] for way in by)


def _require_reached(found: Found) -> None:
    state = found.get("runtime.connectionState")
    if found.get("config.hardware.device") is None or state not in {None, "connected"}:
        detail = f"VM {found.get('name')} cannot be reached by vSphere itself: it is {state}"
        raise TransientError(TransientCode.HOST_UNREACHABLE, detail, "see its host in the vSphere client")


def vm_of(found: Found, uuid: VmUuid) -> SeenVm:
    """Make a VM of its properties; what vSphere does not know of it is left empty."""
    devices = found.get("config.hardware.device") or ()
    return SeenVm(
        ref=found.ref,
        uuid=uuid,
        name=str(found.get("name")),
        power=_POWER.get(str(found.get("runtime.powerState")), PowerState.HALTED),
        host=key_of(found.get("runtime.host")),
        version=found.get("config.changeVersion"),
        controllers=dict(_controllers(devices)),
        pci=next((int(one.key) for one in devices if isinstance(one, vim.vm.device.VirtualPCIController)), 100),
        taken=frozenset((one.controllerKey, one.unitNumber) for one in devices if one.unitNumber is not None),
        drives=_drives(devices),
        root=_root(devices, found.get("config.bootOptions.bootOrder"), found.get("config.files.vmPathName")),
        home=_home(found.get("config.files.vmPathName")),
        stores=tuple(key_of(one) for one in found.get("datastore") or ()),
        question=found.get("runtime.question"),
    )


def _controllers(devices: Iterable[Any]) -> Iterator[tuple[int, tuple[str, int]]]:
    for one in devices:
        if isinstance(one, vim.vm.device.VirtualIDEController):
            yield int(one.key), ("ide", int(one.busNumber))
        elif isinstance(one, vim.vm.device.VirtualAHCIController):
            yield int(one.key), ("sata", int(one.busNumber))


def _drives(devices: Iterable[Any]) -> tuple[Drive, ...]:
    return tuple(_drive(one) for one in devices if isinstance(one, vim.vm.device.VirtualCdrom))


def _drive(device: Any) -> Drive:  # noqa: ANN401
    backing, state = device.backing, device.connectable
    kinds = vim.vm.device.VirtualCdrom
    iso = isinstance(backing, kinds.IsoBackingInfo) and backing.fileName
    connected = bool(state is not None and state.connected)
    starts = bool(state is not None and state.startConnected)
    of_the_host = isinstance(backing, kinds.AtapiBackingInfo | kinds.PassthroughBackingInfo) and (connected or starts)
    return Drive(
        device=device,
        controller=int(device.controllerKey),
        unit=int(device.unitNumber),
        path=str(backing.fileName) if iso else None,
        store=key_of(backing.datastore) if iso else "",
        empty=not iso and not of_the_host,
        connected=connected,
        starts=starts,
    )


def _root(devices: Iterable[Any], order: Iterable[Any] | None, configuration: str | None) -> str | None:
    """The first disk in the boot order, else the first of all; a VM without any: where its configuration lies."""
    disks = {one.key: one for one in devices if isinstance(one, vim.vm.device.VirtualDisk)}
    bootable = [disks[one.deviceKey] for one in order or () if getattr(one, "deviceKey", None) in disks]
    for disk in (*bootable, *disks.values()):
        store = getattr(disk.backing, "datastore", None)
        if store is not None:
            return key_of(store)
        if getattr(disk.backing, "fileName", None):
            return split(disk.backing.fileName)[0]
    return split(configuration)[0] if configuration else None


def _home(configuration: str | None) -> tuple[str, str] | None:
    if not configuration:
        return None
    return split(configuration)[0], directory_of(configuration)
