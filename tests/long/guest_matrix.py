"""Every machine, kernel, root disk and other CD drive: a real guest reads its config drive, and the installer boots.

`make test-guests` runs it. The table of places in docs/how-to/kvm.md says where each drive goes; here it is booted.
"""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final, Literal, get_args
from xml.etree import ElementTree as ET

import pytest
from typing_extensions import override

from configdrive.iso import build as image
from configdrive.model import HostName, Image, Place, StorageName, Vm
from rigs.guest.kernel import Arch, Flavour
from rigs.guest.probe import probe_kernel
from rigs.libvirt import LibvirtHost
from rigs.process import find_program, wait_until
from tests.contract.rig import image_name
from tests.integration.kvm.cloud import Cloud, disk
from tests.support import require_rig
from workers.hypervisors.kvm.driver import KvmDriver

pytestmark = pytest.mark.timeout(0)  # its waits end by themselves

HOME: Final = Place(StorageName("local"), HostName("h1"))
Machine = Literal["pc", "q35", "virt"]
Root = Literal["virtio", "scsi", "its own"]
OtherCd = Literal["no CD", "an empty CD", "an installer"]

QEMU: Final = {"amd64": "x86_64", "arm64": "aarch64"}
OWN_BUS: Final = {"pc": "ide", "q35": "sata", "virt": "scsi"}
"""What a machine has for disks and CD drives by itself; `virt` has nothing, so its user added virtio-scsi, or SATA."""

_COMMAND_LINE: Final = "quiet loglevel=1 panic=-1 mitigations=off nokaslr no_timer_check tsc=reliable audit=0"
"""Without `no_timer_check` a kernel under emulation now and then finds that its timer does not work, and gives up."""

INSTALLER: Final = bytes.fromhex("31c08ed8be217cac84c0741288c3bafd03eca82074fb88d8baf803eeebe9f4ebfd") + (
    b"the installer has booted\r\n\0"
)
"""A boot sector that prints on the first serial port, and halts.

    start: xor ax,ax; mov ds,ax; mov si,text                 more: lodsb; test al,al; jz end; mov bl,al
    wait:  mov dx,0x3FD; in al,dx; test al,0x20; jz wait     mov al,bl; mov dx,0x3F8; out dx,al; jmp more
    end:   hlt; jmp end                                      text: ...
"""


@dataclass(frozen=True)
class Cell:
    """One kind of VM."""

    machine: Machine
    kernel: Flavour
    root: Root
    other: OtherCd

    @override
    def __str__(self) -> str:
        return f"{self.machine}, {self.kernel} kernel, root on {self.root_bus}, {self.other}"

    @property
    def arch(self) -> Arch:
        return "arm64" if self.machine == "virt" else "amd64"

    @property
    def root_bus(self) -> str:
        if self.root != "its own":
            return self.root
        return "sata" if self.machine == "virt" else OWN_BUS[self.machine]

    @property
    def why_not(self) -> str | None:
        """Why the guest cannot see a drive, whatever is done; `None` when it can."""
        if self.machine == "pc" or self.kernel != "cloud":
            return None
        if self.root == "its own" and (self.machine == "q35" or self.other == "no CD"):
            return "Debian's cloud kernel has no driver for SATA: this VM does not boot from its root disk either"
        if self.machine == "q35" and self.root == "scsi" and self.other == "an installer":
            return (
                "behind the installer's SATA drive there is no place but on SATA, which the cloud kernel does not drive"
            )
        return None


CELLS: Final = [
    Cell(machine, kernel, root, other)
    for machine, kernel, root, other in product(get_args(Machine), get_args(Flavour), get_args(Root), get_args(OtherCd))
]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with require_rig():
        find_program("qemu-system-aarch64", "qemu-system-arm")
        host = LibvirtHost(tmp_path_factory.mktemp("kvm"))
        host.start()
    with host:
        cloud = Cloud(host, "local", tmp_path_factory.mktemp("pool"))
        yield cloud
        cloud.clean()
        cloud.close()


@pytest.fixture(scope="module")
def driver(cloud: Cloud) -> Iterator[KvmDriver]:
    driver = KvmDriver.from_inventory({"hosts": {"h1": {"uri": cloud.host.uri}}})
    yield driver
    driver.close()


@pytest.fixture(scope="module")
def installer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bootable ISO (El Torito, no emulation)."""
    directory = tmp_path_factory.mktemp("installer")
    (directory / "files").mkdir()
    (directory / "files" / "boot.img").write_bytes(INSTALLER.ljust(2048, b"\0"))
    argv = [find_program("xorriso", "xorriso"), "-as", "mkisofs", "-quiet", "-V", "INSTALL", "-b", "boot.img"]
    argv += ["-no-emul-boot", "-boot-load-size", "4", "-o", str(directory / "installer.iso"), str(directory / "files")]
    subprocess.run(argv, check=True, capture_output=True)
    return directory / "installer.iso"


def define(cloud: Cloud, cell: Cell, console: Path, installer: Path, *, firmware: bool = False) -> Vm:
    """Define such a VM; it boots the kernel of its cell directly, or by its `firmware`."""
    vm = cloud.new_vm()
    root = disk(cloud.root_disk(vm.uuid), "vda" if cell.root == "virtio" else _name(cell, 0), cell.root_bus, "disk")
    other = {
        "no CD": "",
        "an empty CD": disk(None, _name(cell, 1), OWN_BUS[cell.machine]),
        "an installer": disk(installer, _name(cell, 2), OWN_BUS[cell.machine]),
    }[cell.other]
    boot = "<boot dev='cdrom'/><boot dev='hd'/>" if cell.other == "an installer" else "<boot dev='hd'/>"
    scsi = cell.root_bus == "scsi" or (cell.machine == "virt" and bool(other))
    serial = "ttyAMA0" if cell.machine == "virt" else "ttyS0"
    kernel = None if firmware else probe_kernel(cell.arch, cell.kernel)
    direct = (
        ""
        if kernel is None
        else f"<kernel>{kernel.kernel}</kernel><initrd>{kernel.initrd}</initrd>"
        f"<cmdline>console={serial} {_COMMAND_LINE}</cmdline>"
    )
    cpu = "<cpu mode='custom' match='exact'><model>cortex-a57</model></cpu>" if cell.machine == "virt" else ""
    acpi = "" if cell.machine == "virt" else "<features><acpi/></features>"  # needs UEFI there
    cloud.connection.defineXML(
        f"<domain type='qemu'><name>{vm.instance_name}</name><uuid>{vm.uuid}</uuid><memory unit='MiB'>384</memory>"
        f"<vcpu>1</vcpu><os><type arch='{QEMU[cell.arch]}' machine='{cell.machine}'>hvm</type>{direct}{boot}</os>"
        f"{acpi}{cpu}<on_reboot>destroy</on_reboot><devices>{root}{other}"
        + ("<controller type='scsi' index='0' model='virtio-scsi'/>" if scsi else "")
        + "<controller type='usb' model='none'/><memballoon model='none'/>"
        f"<serial type='file'><source path='{console}'/><target port='0'/></serial></devices></domain>"
    )
    return vm


def _name(cell: Cell, number: int) -> str:
    """Return a target's name: of the root disk, an empty CD drive, and the installer's (CloudStack's `hdc`, `sdc`)."""
    ide = OWN_BUS[cell.machine] == "ide" and not (number == 0 and cell.root == "scsi")
    return (("hda", "hdd", "hdc") if ide else ("sda", "sdb", "sdc"))[number]


def give(driver: KvmDriver, vm: Vm) -> None:
    files = {"cloudstack/metadata/vm_id.txt": vm.uuid.encode()}
    built: Image = image.build(image_name(vm), files, label="config", built_at=1_700_000_000)
    driver.upload(vm, built, HOME)
    driver.attach(vm, built.name, HOME)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_guest_reads_its_config_drive(
    cloud: Cloud, driver: KvmDriver, installer: Path, tmp_path: Path, cell: Cell
) -> None:
    console = tmp_path / "console"
    vm = define(cloud, cell, console, installer)
    give(driver, vm)
    cloud.start(vm)

    def said() -> str | None:
        text = console.read_text(errors="replace") if console.exists() else ""
        return next((line for line in text.splitlines() if line.startswith("@@") and line.endswith("@@")), None)

    wait_until(lambda: said() or not cloud.domain(vm).isActive(), f"the guest: {cell}", timeout=400)
    line = said()
    assert line is not None, f"the guest ended without a word: {console.read_text(errors='replace')[:400]}"
    assert (vm.uuid in line) is (cell.why_not is None), (line, cell.why_not)
    wait_until(lambda: not cloud.domain(vm).isActive(), "the guest to power off", timeout=60)
    driver.detach(vm)
    left = ET.fromstring(cloud.domain(vm).XMLDesc(2)).iterfind("devices/controller/alias")  # noqa: S314
    assert [alias.get("name") for alias in left if str(alias.get("name")).startswith("ua-")] == []


@pytest.mark.parametrize(
    "cell",
    [one for one in CELLS if one.other == "an installer" and one.machine != "virt" and one.kernel == "cloud"],
    ids=str,
)
def test_the_installer_boots_beside_the_config_drive(
    cloud: Cloud, driver: KvmDriver, installer: Path, tmp_path: Path, cell: Cell
) -> None:
    """By SeaBIOS, with `-boot strict=on`; on aarch64 the boot index alone is looked at (tests/integration/kvm)."""
    console = tmp_path / "console"
    vm = define(cloud, cell, console, installer, firmware=True)
    give(driver, vm)
    cloud.start(vm)
    wait_until(
        lambda: console.exists() and "the installer has booted" in console.read_text(errors="replace"),
        f"the installer: {cell}",
        timeout=120,
    )
    cloud.stop(vm)
