"""VMs on a private KVM host, and what is done to them past the driver: shared with the contract suite's rig."""

import json
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol
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
    StorageName,
    Vm,
    VmUuid,
)
from configdrive.ports import Attachment
from rigs.libvirt import LibvirtHost
from tests.contract.rig import image_name, make_image
from tests.support import require_rig, wait_until
from workers.hypervisors.kvm.driver import KvmDriver
from workers.hypervisors.kvm.image_folder import ID_FILE, shard_of

# What VMs have for a firmware, on any x86 machine: it touches no drive, takes no time, and waits for a key. Then it
# tells the slave of the second IDE channel (hdd) to lock its tray, again and again. A change of medium is first
# reported as an error, which REQUEST SENSE clears.
#
#   start:  cli; lgdt cs:gdtr; mov eax,cr0; or al,1; mov cr0,eax; mov bx,8; mov ds,bx; and al,0xFE; mov cr0,eax
#           mov dword [0xFEE00350],0x700                           the processor listens to the interrupt controller
#           xor ax,ax; mov ds,ax; mov ss,ax; mov sp,0x7000
#           mov word [0x20],tick; mov word [0x22],0xF000; mov word [0x24],tick; mov word [0x26],0xF000
#           0x20 <- 0x11; 0x21 <- 8, 4, 1                          the interrupt controller; each is: mov al,_; out _,al
#           0x21 <- 0xFD; sti; hlt                                 wait for a key
#           0x21 <- 0xFE
#   again:  sti; hlt                                               until the timer ticks, 18 times a second
#           mov si,sense; call packet; mov si,prevent; call packet; jmp again
#   tick:   push ax; mov al,0x20; out 0x20,al; pop ax; iret
#   packet: mov dx,0x176; mov al,0xB0; out dx,al; call settle      choose the slave
#           mov dx,0x174; mov al,18; out dx,al                     of at most 18 bytes of data
#           inc dx; xor al,al; out dx,al; mov dx,0x171; out dx,al  by programmed I/O
#           mov dx,0x177; mov al,0xA0; out dx,al                   PACKET
#   busy:   in al,dx; test al,0x80; jnz busy
#           mov dx,0x170; mov cx,6; cld
#   send:   cs lodsw; out dx,ax; loop send
#   settle: mov dx,0x177; in al,dx; test al,0x80; jnz settle       until it is idle, and its data read
#           test al,0x08; jz done; mov dx,0x170; in ax,dx; jmp settle; done: ret
#   sense:   db 0x03,0,0,0,18,0,0,0,0,0,0,0                        REQUEST SENSE
#   prevent: db 0x1E,0,0,0,1,0,0,0,0,0,0,0                         PREVENT ALLOW MEDIUM REMOVAL: prevent
#   gdt:     dq 0, 0x00CF93000000FFFF; gdtr: dw 15, gdt, 0xF       one segment of 4 GB
_LOCKER = bytes.fromhex(
    "fa2e0f0116e0000f20c00c010f22c0bb08008edb24fe0f22c06766c7055003e0fe0007000031c08ed88ed0bc0070c70620007000c7062200"
    "00f0c70624007000c706260000f0b011e620b008e621b004e621b001e621b0fde621fbf4b0fee621fbf4beb800e80f00bec400e80900ebf0"
    "50b020e62058cfba7601b0b0eee82500ba7401b012ee4230c0eeba7101eeba7701b0a0eeeca88075fbba7001b90600fc2eadefe2fbba7701"
    "eca88075f8a8087406ba7001edebeec30300000012000000000000001e00000001000000000000000000000000000000ffff00000093cf00"
    "0f00d0000f00"
)
_RESET = bytes.fromhex("ea000000f0")  # jmp 0xF000:start
FIRMWARE = _LOCKER.ljust(0xFFF0, b"\0") + _RESET.ljust(16, b"\0")
ROOT_DISK = bytes(1024 * 1024)

_KEY_ENTER = 28


def disk(path: Path | str | None, dev: str, bus: str, device: str = "cdrom", extra: str = "") -> str:
    """Write a disk element, as an orchestrator would."""
    source = "" if path is None else f"<source file='{path}'/>"
    read_only = "<readonly/>" if device == "cdrom" else ""
    return (
        f"<disk type='file' device='{device}'><driver name='qemu' type='raw'/>{source}"
        f"<target dev='{dev}' bus='{bus}'/>{read_only}{extra}</disk>"
    )


Tables = Mapping[str, Mapping[str, object]]


class MakeDriver(Protocol):
    """Makes a driver with these hosts, or with one host `h1`, whose table the keyword arguments change."""

    def __call__(self, *, call_timeout: float = 20.0, hosts: Tables | None = None, **table: object) -> KvmDriver: ...


def blank(path: Path) -> Path:
    """Make a file that is somebody's, with nothing on it."""
    path.write_bytes(bytes(4096))
    return path


class Mount(Protocol):
    """Mounts memory on the host."""

    def __call__(self, path: Path, options: str, source: str = "memory") -> None: ...


HOST = HostName("h1")


def on_h1(storage: str) -> Place:
    """Return a place of h1's own."""
    return Place(StorageName(storage), HOST)


CACHE = on_h1("host-cache")
HDD = disk(None, "hdd", "ide")
SCSI = "<controller type='scsi' index='0' model='virtio-scsi'/>"


def root_in(folder: Path) -> str:
    """Write a root disk that lies in this folder, whatever is there."""
    return disk(folder / "root.raw", "vda", "virtio", "disk")


def domain(  # noqa: PLR0913  # what domains differ in
    name: str,
    identity: str,
    disks: str,
    *,
    machine: str = "pc",
    devices: str = "",
    after: str = "",
    firmware: Path | None = None,
) -> str:
    """Write a domain of a CPU, 32 MiB and these disks, with this firmware or QEMU's own."""
    rom = "" if firmware is None else f"<loader type='rom'>{firmware}</loader>"
    boot = "" if "<boot order=" in disks else "<boot dev='hd'/>"
    return (
        f"<domain type='qemu'><name>{name}</name><uuid>{identity}</uuid><memory unit='MiB'>32</memory><vcpu>1</vcpu>"
        f"<os><type arch='x86_64' machine='{machine}'>hvm</type>{rom}{boot}</os>"
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


def give(driver: KvmDriver, vm: Vm, place: Place, generation: int = 1) -> Attachment:
    """Upload the image of a generation and attach it."""
    driver.upload(vm, make_image(vm, generation), place)
    return driver.attach(vm, image_name(vm, generation), place)


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
        self.firmware = path / "firmware.rom"
        host.outside(self.firmware).write_bytes(FIRMWARE)
        self.connection = libvirt.open(host.uri)
        self._ending = ThreadPoolExecutor(4)
        self._ended: set[str] = set()

    def close(self) -> None:
        self._ending.shutdown()
        self.connection.close()

    def reconnect(self) -> None:
        self.connection = libvirt.open(self.host.uri)

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        """Take libvirtd away for a while: the VMs run on."""
        self.host.kill_daemon()
        try:
            yield
        finally:
            self.host.start_daemon()
            self.reconnect()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Let libvirtd say nothing for a while."""
        self.host.pause()
        try:
            yield
        finally:
            self.host.resume()

    @contextmanager
    def asleep(self, pool: str) -> Iterator[None]:
        """Stop a pool for a while."""
        found = self.connection.storagePoolLookupByName(pool)
        found.destroy()
        try:
            yield
        finally:
            found.create()

    def root_disk(self, identity: str) -> Path:
        path = self.host.outside(self.pool) / f"{identity}.root"
        path.write_bytes(ROOT_DISK)
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
        bios: bool = False,
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
            bios: with QEMU's own firmware, which looks for something to boot.
        """
        vm = self.new_vm() if vm is None else vm
        root = disk(self.root_disk(vm.uuid), "vda", "virtio", "disk") if root is None else root
        devices += "<controller type='usb' model='none'/>" if no_usb else ""
        firmware = None if bios else self.firmware
        hardware = {"machine": machine, "devices": devices, "after": after}
        xml = domain(vm.instance_name, vm.uuid, root + disks, **hardware, firmware=firmware)
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
                kept = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
                found.undefineFlags(kept)
            if active:  # transient now; libvirt waits 0.2 s for its end, which no test has to
                self._ended.add(found.UUIDString())
                self._ending.submit(found.destroy)
        for pool in self.connection.listAllStoragePools(0):
            if pool.name() != self.pool_name:
                self.drop_pool(pool.name())

    def drop_pool(self, name: str) -> None:
        """Undefine a pool; its files stay."""
        pool = self.connection.storagePoolLookupByName(name)
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

    def guest_sees(self, vm: Vm) -> list[str]:
        """The images in the drives of a running VM, as QEMU has them."""
        return [drive.path for drive in self.drives(vm).values() if drive.path and drive.path.endswith(".iso")]

    def exchange(self, vm: Vm, element: str) -> None:
        """Change the medium of a drive past the driver."""
        live = libvirt.VIR_DOMAIN_AFFECT_LIVE if self.domain(vm).isActive() else 0
        self.domain(vm).updateDeviceFlags(element, libvirt.VIR_DOMAIN_AFFECT_CONFIG | live)

    def lock_tray(self, vm: Vm) -> None:
        """Let the guest lock hdd, and lock it again whenever it is forced open."""

        def locked() -> bool:
            if any(drive.locked for drive in self.drives(vm).values()):
                return True
            self.domain(vm).sendKey(libvirt.VIR_KEYCODE_SET_LINUX, 20, [_KEY_ENTER], 1, 0)
            return False

        wait_until(locked, "the guest to lock its tray", timeout=20, interval=0.2)


@contextmanager
def open_cloud(
    folder: Path, host_name: str = "kvm-1", *, name: str = "h1", pool: str = "local", tls: bool = False
) -> Iterator[Cloud]:
    """Start a host whose root disks lie in a pool, in the folder of its name; at the end all is gone."""
    with require_rig():
        host = LibvirtHost(folder / "host", host_name, tls=tls)
        host.start()
    with host:
        cloud = Cloud(host, pool, folder / pool, name)
        yield cloud
        cloud.clean()
        cloud.close()


def media_of(xml: str) -> dict[str, str | None]:
    """Read target -> path of every disk but the root disk."""
    found: dict[str, str | None] = {}
    for element in ET.fromstring(xml).iterfind("devices/disk"):  # noqa: S314  # the test's own libvirtd
        target, source = element.find("target"), element.find("source")
        assert target is not None
        if target.get("dev") not in {"vda", "sdz"}:
            found[target.get("dev", "")] = None if source is None else source.get("file")
    return found
