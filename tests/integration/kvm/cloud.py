"""VMs on a private KVM host, and what is done to them past the driver: shared with the contract suite's rig."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import libvirt
import libvirt_qemu

from configdrive.model import (
    IMAGE_FOLDER,
    HostName,
    HypervisorName,
    ImageName,
    InstanceName,
    Place,
    Vm,
    VmUuid,
)
from tests.support import wait_until
from workers.hypervisors.kvm.image_folder import ID_FILE, shard_of

if TYPE_CHECKING:
    from rigs.libvirt import LibvirtHost

# Boots from any disk. After the first key it tells the slave of the second IDE channel (hdd) to lock its tray, again
# and again. A change of medium is first reported as an error, which REQUEST SENSE clears.
#
#   start:  xor ax,ax; int 0x16                                    wait for a key
#   again:  sti; hlt                                               until the timer ticks, 18 times a second
#           mov si,sense; call packet; mov si,prevent; call packet; jmp again
#   packet: mov dx,0x176; mov al,0xB0; out dx,al; call settle      choose the slave
#           mov dx,0x174; mov al,18; out dx,al                     of at most 18 bytes of data
#           inc dx; xor al,al; out dx,al; mov dx,0x171; out dx,al  by programmed I/O
#           mov dx,0x177; mov al,0xA0; out dx,al                   PACKET
#   busy:   in al,dx; test al,0x80; jnz busy
#           mov dx,0x170; mov cx,6; cld
#   send:   lodsw; out dx,ax; loop send
#   settle: mov dx,0x177; in al,dx; test al,0x80; jnz settle       until it is idle, and its data read
#           test al,0x08; jz done; mov dx,0x170; in ax,dx; jmp settle; done: ret
#   sense:   db 0x03,0,0,0,18,0,0,0,0,0,0,0                        REQUEST SENSE
#   prevent: db 0x1E,0,0,0,1,0,0,0,0,0,0,0                         PREVENT ALLOW MEDIUM REMOVAL: prevent
_LOCKER = bytes.fromhex(
    "31c0cd16fbf4be547ce80800be607ce80200ebf0ba7601b0b0eee82400ba7401b012ee4230c0eeba7101eeba7701b0a0eeeca88075fbba"
    "7001b90600fcadefe2fcba7701eca88075f8a8087406ba7001edebeec30300000012000000000000001e00000001"
)
BOOT_DISK = _LOCKER.ljust(510, b"\0") + b"\x55\xaa" + bytes(1024 * 1024 - 512)

_KEY_ENTER = 28


def disk(path: Path | str | None, dev: str, bus: str, device: str = "cdrom", extra: str = "") -> str:
    """Write a disk element, as an orchestrator would."""
    source = "" if path is None else f"<source file='{path}'/>"
    read_only = "<readonly/>" if device == "cdrom" else ""
    return (
        f"<disk type='file' device='{device}'><driver name='qemu' type='raw'/>{source}"
        f"<target dev='{dev}' bus='{bus}'/>{read_only}{extra}</disk>"
    )


def domain(  # noqa: PLR0913  # what domains differ in
    name: str, identity: str, disks: str, *, machine: str = "pc", devices: str = "", after: str = ""
) -> str:
    """Write a domain of a CPU, 32 MiB and these disks; it stands at the boot loader."""
    return (
        f"<domain type='qemu'><name>{name}</name><uuid>{identity}</uuid><memory unit='MiB'>32</memory><vcpu>1</vcpu>"
        f"<os><type arch='x86_64' machine='{machine}'>hvm</type><boot dev='hd'/></os>"
        f"<features><acpi/></features>{after}"
        f"<devices>{disks}{devices}</devices></domain>"
    )


@dataclass(frozen=True, slots=True)
class Drive:
    """A drive as QEMU itself has it."""

    path: str | None
    read_only: bool
    locked: bool


def identified(place: Place, folder: Path) -> Place:
    """Give the folder of a storage's images an identity, as the first upload would."""
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    if not (folder / ID_FILE).exists():
        (folder / ID_FILE).write_text(f"{uuid.uuid4().hex}\n")
    return replace(place, identity=(folder / ID_FILE).read_text().strip())


def image_at(name: ImageName | None, folder: str = IMAGE_FOLDER) -> str:
    """Say where an image lies below the folder's own directory: the pool's, or the one around the cache."""
    assert name is not None
    return f"{folder}/{shard_of(name.vm_uuid)}/{name}"


class Cloud:
    """One host with a pool for root disks.

    Args:
        host: is started.
        pool: its name.
        path: the pool's.
        name: the host's in the inventory.
    """

    def __init__(self, host: LibvirtHost, pool: str, path: Path, name: str = "h1") -> None:
        self.host = host
        self.name = HostName(name)
        self.pool_name = pool
        self.pool = path
        self._numbers = 0
        host.define_pool(pool, path)
        self.connection = libvirt.open(host.uri)
        self._ending = ThreadPoolExecutor(4)
        self._ended: set[str] = set()

    def close(self) -> None:
        self._ending.shutdown()
        self.connection.close()

    def reconnect(self) -> None:
        self.connection = libvirt.open(self.host.uri)

    def root_disk(self, identity: str) -> Path:
        path = self.host.outside(self.pool) / f"{identity}.root"
        path.write_bytes(BOOT_DISK)
        return self.pool / path.name

    def new_vm(self) -> Vm:
        self._numbers += 1
        name = f"i-2-{self._numbers}-VM"
        return Vm(VmUuid(str(uuid.uuid4())), InstanceName(name), HypervisorName("kvm"), self.name)

    def define(  # noqa: PLR0913  # what domains differ in
        self,
        disks: str = "",
        *,
        machine: str = "pc",
        devices: str = "",
        after: str = "",
        running: bool = False,
        transient: bool = False,
        root: str | None = None,
        vm: Vm | None = None,
        no_usb: bool = True,
    ) -> Vm:
        """Make a VM with a root disk on the pool and these further disks; of one that is there, its definition anew.

        Args:
            disks: elements.
            machine: libvirt's machine type.
            devices: more elements.
            after: elements behind `<features>`.
            running: started as well.
            transient: running without a persistent definition.
            root: the root disk's element.
            vm: the VM.
            no_usb: say that it has no USB controller.
        """
        vm = self.new_vm() if vm is None else vm
        root = disk(self.root_disk(vm.uuid), "vda", "virtio", "disk") if root is None else root
        devices += "<controller type='usb' model='none'/>" if no_usb else ""
        xml = domain(vm.instance_name, vm.uuid, root + disks, machine=machine, devices=devices, after=after)
        if transient:
            self.connection.createXML(xml, 0)
            return vm
        made = self.connection.defineXML(xml)
        if running:
            made.create()
        return vm

    def domain(self, vm: Vm) -> libvirt.virDomain:
        return self.connection.lookupByUUIDString(vm.uuid)

    def start(self, vm: Vm) -> None:
        self.domain(vm).create()

    def stop(self, vm: Vm) -> None:
        self.domain(vm).destroy()

    def clean(self) -> None:
        """Take away all VMs, and all pools but the first."""
        self.reconnect()  # a test may have broken this one as well
        for found in self.connection.listAllDomains(0):
            if found.UUIDString() in self._ended:
                continue
            active = found.isActive()
            if found.isPersistent():
                found.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)
            if active:  # transient now; libvirt waits 0.2 s for its end, which no test has to
                self._ended.add(found.UUIDString())
                self._ending.submit(found.destroy)
        for pool in self.connection.listAllStoragePools(0):
            if pool.name() == self.pool_name:
                continue
            persistent = pool.isPersistent()
            if pool.isActive():
                pool.destroy()
            if persistent:
                pool.undefine()

    def add_pool(self, name: str, path: Path, kind: str = "dir", source: str = "", *, active: bool = True) -> None:
        """Define one more pool."""
        path.mkdir(parents=True, exist_ok=True)
        xml = f"<pool type='{kind}'><name>{name}</name>{source}<target><path>{path}</path></target></pool>"
        pool = self.connection.storagePoolDefineXML(xml, 0)
        if active:
            pool.create(0)

    def media(self, vm: Vm, *, inactive: bool = False) -> dict[str, str | None]:
        """What libvirt says is in each drive but the root disk: target -> path."""
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE if inactive else 0
        return media_of(self.domain(vm).XMLDesc(flags))

    def drives(self, vm: Vm) -> dict[str, Drive]:
        """What QEMU says is in each drive of a running VM: QEMU's name for it -> drive."""
        answer = json.loads(libvirt_qemu.qemuMonitorCommand(self.domain(vm), '{"execute":"query-block"}', 0))
        found = {}
        for block in answer["return"]:
            inserted = block.get("inserted")
            found[block.get("qdev") or block["device"]] = Drive(
                path=None if inserted is None else inserted["image"]["filename"],
                read_only=inserted is not None and inserted["ro"],
                locked=block["locked"],
            )
        return found

    def exchange(self, vm: Vm, element: str) -> None:
        """Change the medium of a drive past the driver, once the guest's firmware lets it alone."""
        flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG
        if not self.domain(vm).isActive():
            self.domain(vm).updateDeviceFlags(element, flags)
            return

        def stands_still() -> bool:
            return "HLT=1" in str(libvirt_qemu.qemuMonitorCommand(self.domain(vm), "info registers", 1))

        wait_until(stands_still, "the guest to wait for a key", timeout=20, interval=0.05)
        self.domain(vm).updateDeviceFlags(element, flags | libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def lock_tray(self, vm: Vm) -> None:
        """Let the guest lock hdd, and lock it again whenever it is forced open."""

        def locked() -> bool:
            if any(drive.locked for drive in self.drives(vm).values()):
                return True
            self.domain(vm).sendKey(libvirt.VIR_KEYCODE_SET_LINUX, 20, [_KEY_ENTER], 1, 0)
            return False

        wait_until(locked, "the guest to lock its tray", timeout=20, interval=0.2)


def media_of(xml: str) -> dict[str, str | None]:
    """Read target -> path of every disk but the root disk."""
    found: dict[str, str | None] = {}
    for element in ET.fromstring(xml).iterfind("devices/disk"):  # noqa: S314  # the test's own libvirtd
        target, source = element.find("target"), element.find("source")
        assert target is not None
        if target.get("dev") not in {"vda", "sdz"}:
            found[target.get("dev", "")] = None if source is None else source.get("file")
    return found
