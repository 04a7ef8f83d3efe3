from __future__ import annotations

import random
import uuid
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Self

import pytest

from rigs import RigUnavailable
from rigs.guest import Disk, GuestKernel, Machine, domain_xml, wait_for_absence, wait_for_report
from rigs.libvirt import LibvirtHost
from tests.support import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    MakeIso = Callable[..., Path]

libvirt = pytest.importorskip("libvirt")

LIVE_AND_CONFIG = libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_AFFECT_CONFIG
FORCE = libvirt.VIR_DOMAIN_DEVICE_MODIFY_FORCE


class Running:
    """A guest with a root disk in the pool `primary`, from its start to its end."""

    def __init__(
        self, host: LibvirtHost, guest: GuestKernel, directory: Path, cdrom: Disk | None, machine: Machine
    ) -> None:
        self.console = directory / "console"
        self._connection = libvirt.open(host.uri)
        root = Disk("vda", "virtio", host.create_disk("primary", f"{uuid.uuid4()}.qcow2"), "qcow2")
        xml = domain_xml(
            f"vm-{directory.name}",
            uuid.uuid4(),
            guest,
            self.console,
            disks=[root, cdrom] if cdrom else [root],
            machine=machine,
        )
        self.domain = self._connection.defineXML(xml)

    def change(self, cdrom: Disk, flags: int = 0) -> None:
        self.domain.updateDeviceFlags(element(cdrom), LIVE_AND_CONFIG | flags)

    def __enter__(self) -> Self:
        self.domain.create()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.domain.isActive():
            self.domain.destroy()
        self.domain.undefine()
        self._connection.close()


def element(disk: Disk) -> str:
    return ET.tostring(disk.element(), encoding="unicode")


def test_it_reads_its_drive_and_every_later_medium_and_lets_go_by_force_only(
    host: LibvirtHost, guest: GuestKernel, make_iso: MakeIso, tmp_path: Path
) -> None:
    files = {
        "cloudstack/password/vm_password.txt": b"fnord",
        "cloudstack/userdata/user_data.txt": random.Random(1).randbytes(20_000),  # noqa: S311  # any bytes will do
        "openstack/latest/meta_data.json": b'{\n\t"uuid": "1",\n\n\t"name": "\xc3\xa9"\n}\n\n',
        "empty": b"",
        "newline": b"\n",
        "lines": b"one\n\ntwo",
        "carriage returns": b"one\r\ntwo\r\n",
    }
    too_large = bytes(300 * 1024)
    first = make_iso(tmp_path / "1.iso", {**files, "large": too_large})
    second = make_iso(tmp_path / "2.iso", {"cloudstack/metadata/vm_id.txt": b"42"})
    slot = Disk("hdd", "ide", first, cdrom=True)
    with Running(host, guest, tmp_path, slot, Machine(hold=True)) as vm:
        report = wait_for_report(vm.console, 1)
        assert report.files == files
        assert report.digests.keys() == {*files, "large"}
        assert (report.device, report.label) == ("/dev/sr0", "config")
        assert report.blkid.startswith("/dev/sr0: ")
        assert 'TYPE="iso9660"' in report.blkid
        assert report.mount_message == "mount: /mnt: WARNING: source write-protected, mounted read-only."
        assert "ro" in report.mount_options
        assert "\n./cloudstack/password:\ntotal 1\n-rw-r--r-- 1 root root 5 " in report.listing

        with pytest.raises(libvirt.libvirtError, match="timed out waiting to open tray"):
            vm.change(Disk("hdd", "ide", second, cdrom=True))
        vm.change(Disk("hdd", "ide", second, cdrom=True), FORCE)
        assert wait_for_report(vm.console, 2).files == {"cloudstack/metadata/vm_id.txt": b"42"}

        vm.change(Disk("hdd", "ide", cdrom=True), FORCE)
        wait_for_absence(vm.console, after=2)

        vm.domain.shutdown()
        wait_until(lambda: not vm.domain.isActive(), "the guest to heed its power button", timeout=20)


def test_it_heeds_no_other_label_and_sees_a_drive_that_is_plugged_in(
    host: LibvirtHost, guest: GuestKernel, make_iso: MakeIso, tmp_path: Path
) -> None:
    other = make_iso(tmp_path / "other.iso", {"name": b"other"})
    theirs = Disk("hdd", "ide", make_iso(tmp_path / "theirs.iso", {"name": b"theirs"}, "config-2"), cdrom=True)
    with Running(host, guest, tmp_path, theirs, Machine(scsi=True, wait=1, label="config")) as vm:
        wait_for_absence(vm.console)
        vm.domain.attachDeviceFlags(element(Disk("sda", "scsi", other, cdrom=True)), LIVE_AND_CONFIG)
        assert wait_for_report(vm.console, 1).files == {"name": b"other"}


def test_it_is_made_once_and_needs_debian_for_that(
    guest: GuestKernel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert GuestKernel.prepare() == guest
    with pytest.raises(RigUnavailable, match="apt-get is not installed"):
        GuestKernel.prepare(tmp_path)
