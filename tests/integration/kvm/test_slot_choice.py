"""Drives that need a controller, and drives beside one that the VM boots from: what libvirt and QEMU make of them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import libvirt
import libvirt_qemu
import pytest
from pydantic import TypeAdapter

from configdrive.model import AttachBy, Place, Vm, VmDefinition
from configdrive.ports import AttachedHow
from tests.contract.rig import image_name
from tests.integration.kvm.cloud import SCSI, Cloud, MakeDriver, blank, disk, give
from tests.support import require
from workers.hypervisors.kvm.driver import KvmDriver

INACTIVE = libvirt.VIR_DOMAIN_XML_INACTIVE
LSILOGIC = "<controller type='scsi' index='0' model='lsilogic'/>"


def devices(cloud: Cloud, vm: Vm) -> dict[str, str]:
    """QEMU's path of each device of a running VM that has a medium: the medium's path -> the device's."""
    found = {path: qdev for qdev, drive in cloud.drives(vm).items() if (path := drive.path) is not None}
    return {path: one if one.startswith("/") else f"/machine/peripheral/{one}" for path, one in found.items()}


def boot_index(cloud: Cloud, vm: Vm, path: str) -> object:
    asked = {"execute": "qom-get", "arguments": {"path": devices(cloud, vm)[path], "property": "bootindex"}}
    return json.loads(libvirt_qemu.qemuMonitorCommand(cloud.domain(vm), json.dumps(asked), 0))["return"]


def controllers(cloud: Cloud, vm: Vm) -> list[str]:
    """The SCSI controllers of the persistent definition, by their models."""
    return re.findall(r"<controller type='scsi' index='.' model='([^']*)'", cloud.domain(vm).XMLDesc(INACTIVE))


def on(words: str, path: Path, device: str = "cdrom") -> str:
    bus, dev = words.split()
    return disk(path, dev, bus, device)


@pytest.mark.parametrize(
    ("machine", "before", "targets"),
    [("q35", "", ()), ("q35", LSILOGIC, ()), ("pc", "", ("scsi:sda",)), ("q35", SCSI, ())],
)
def test_a_drive_on_scsi_has_a_virtio_controller_which_comes_and_goes_with_it(  # noqa: PLR0913, PLR0917
    cloud: Cloud, make_driver: MakeDriver, home: Place, machine: str, before: str, targets: tuple[str, ...]
) -> None:
    driver = make_driver(cd_targets=list(targets))
    vm = cloud.define(machine=machine, devices=before)
    there = controllers(cloud, vm)
    give(driver, vm, home)
    attachment = give(driver, vm, home, 2)
    assert (attachment.how, attachment.device) == (AttachedHow.INSERTED, "sda")
    assert controllers(cloud, vm) == (there if before == SCSI else [*there, "virtio-scsi"])
    cloud.start(vm)
    tree = str(libvirt_qemu.qemuMonitorCommand(cloud.domain(vm), "info qtree", 1))
    above = tree[: tree.index("dev: scsi-cd")]
    assert above.rindex("dev: virtio-scsi-device") > above.rfind("dev: lsi53c895a")
    driver.detach(vm, [image_name(vm, 2)])
    assert (cloud.media(vm, inactive=True), controllers(cloud, vm)) == ({}, there)


def test_a_controller_of_ours_stays_while_somebody_else_uses_it_and_goes_with_a_drive_on_another_bus(
    cloud: Cloud, driver: KvmDriver, home: Place, tmp_path: Path
) -> None:
    vm = cloud.define(machine="q35")
    give(driver, vm, home)
    theirs = disk(blank(tmp_path / "data"), "sdb", "scsi", "disk")
    cloud.domain(vm).attachDeviceFlags(theirs, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    driver.detach(vm)
    assert controllers(cloud, vm) == ["virtio-scsi"]
    cloud.domain(vm).detachDeviceFlags(theirs, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    give(driver, vm, home)
    assert controllers(cloud, vm) == ["virtio-scsi"]
    driver.detach(vm)
    assert controllers(cloud, vm) == []


def test_an_arm_machine_gets_virtio_scsi(cloud: Cloud, driver: KvmDriver, home: Place) -> None:
    arm = "/qemu-system-aarch64</emulator>" in cloud.connection.getCapabilities()
    require(arm, "qemu-system-arm (`make setup` installs it)")
    vm = cloud.new_vm()
    root = disk(cloud.root_disk(vm.uuid), "vda", "virtio", "disk")
    cloud.connection.defineXML(
        f"<domain type='qemu'><name>{vm.instance_name}</name><uuid>{vm.uuid}</uuid><memory unit='MiB'>32</memory>"
        f"<os><type arch='aarch64' machine='virt'>hvm</type></os><devices>{root}</devices></domain>"
    )
    attachment = give(driver, vm, home)
    assert (attachment.device, controllers(cloud, vm)) == ("sda", ["virtio-scsi"])
    cloud.domain(vm).createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)  # it has no firmware, and would run wild
    assert attachment.path in devices(cloud, vm)
    driver.detach(vm)


@pytest.mark.parametrize(
    ("machine", "root", "beside", "iso"),
    [
        ("q35", "", "", "sata sdc"),
        ("q35", "", "", "sata sdb"),
        ("q35", "scsi sdz", "", "sata sdc"),
        ("q35", "sata sdz", "", "sata sdb"),
        ("pc", "", "", "ide hdc"),
        ("pc", "", "", "ide hdb"),
        ("pc", "", "ide hdd", "ide hdc"),
    ],
)
def test_the_installer_s_cd_keeps_its_place_in_the_boot_order(  # noqa: PLR0913, PLR0917  # fixtures and cases
    cloud: Cloud, driver: KvmDriver, home: Place, tmp_path: Path, machine: str, root: str, beside: str, iso: str
) -> None:
    vm, user, data = cloud.new_vm(), blank(tmp_path / "installer.iso"), blank(tmp_path / "data")
    element = on(root, cloud.root_disk(vm.uuid), "disk") if root else None
    disks = on(iso, user) + (on(beside, data, "disk") if beside else "")
    cloud.define(disks, machine=machine, root=element, devices=SCSI if "scsi" in root else "", vm=vm)
    xml = cloud.domain(vm).XMLDesc(INACTIVE).replace("<boot dev='hd'/>", "<boot dev='cdrom'/><boot dev='hd'/>")
    cloud.connection.defineXML(xml)
    attachment = give(driver, vm, home)
    cloud.start(vm)
    assert boot_index(cloud, vm, str(user)) == 1
    assert boot_index(cloud, vm, attachment.path) == -1
    cloud.stop(vm)


UNIT = "<address type='drive' controller='0' bus='0' target='0' unit='0'/>"
HANDED = (
    "<hostdev mode='subsystem' type='scsi'><source><adapter name='scsi_host0'/><address bus='0' target='0' unit='0'/>"
    f"</source>{UNIT}</hostdev>"
)


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("taken", ["by a disk of another letter", "by a device of the host"])
def test_a_letter_whose_connector_somebody_else_has_is_passed_by(  # noqa: PLR0913  # fixtures and cases
    cloud: Cloud, driver: KvmDriver, home: Place, tmp_path: Path, taken: str, *, running: bool
) -> None:
    by_disk, data = taken.startswith("by a disk"), blank(tmp_path / "data")
    vm = cloud.define(disk(data, "sdz", "scsi", "disk", UNIT) if by_disk else "", machine="q35", devices=SCSI)
    if running:
        cloud.start(vm)
    if not by_disk:  # there is none to hand through: it is defined only
        cloud.domain(vm).attachDeviceFlags(HANDED, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    attachment = give(driver, vm, home)
    assert attachment.how is (AttachedHow.HOT_ADDED if running else AttachedHow.INSERTED)
    assert cloud.media(vm, inactive=True)["sdb"] == attachment.path


UNDEFINED = [
    ({"machine": "q35", "disks": [{"target": "vda", "bus": "virtio"}]}, "scsi", True),
    ({"machine": "q35", "controllers": [{"type": "scsi", "model": "virtio-scsi"}]}, "scsi", False),
    ({"machine": "q35", "disks": [{"target": "sda", "bus": "sata"}], "boot": ["cdrom", "hd"]}, "sata", False),
    (
        {"machine": "pc", "disks": [{"target": "hdc", "bus": "ide", "device": "cdrom"}], "boot": ["cdrom", "hd"]},
        "ide",
        False,
    ),
]


@pytest.mark.parametrize(("definition", "bus", "controller"), UNDEFINED)
def test_an_orchestrator_gets_an_element_that_fits_what_it_is_about_to_define(  # noqa: PLR0913
    cloud: Cloud, driver: KvmDriver, home: Place, definition: dict[str, object], bus: str, *, controller: bool
) -> None:
    known = TypeAdapter(VmDefinition).validate_python(definition)
    vm = replace(cloud.new_vm(), attach_by=AttachBy.ORCHESTRATOR, primary_storage=home.storage, definition=known)
    attachment = give(driver, vm, home)
    assert (attachment.facts["bus"], "xml_controller" in attachment.facts) == (bus, controller)
    theirs = "".join(
        disk(cloud.root_disk(vm.uuid) if one.device == "disk" else None, one.target, one.bus, one.device)
        for one in known.disks
    )
    scsi = attachment.facts.get("xml_controller", SCSI if known.controllers else "")
    cloud.define(theirs + (attachment.xml or ""), root="", machine=known.machine, devices=scsi, vm=vm)
    cloud.start(vm)
    assert attachment.path in devices(cloud, vm)


def test_of_a_vm_of_which_nothing_is_known_there_is_an_element_for_each_bus(
    cloud: Cloud, driver: KvmDriver, home: Place
) -> None:
    vm = replace(cloud.new_vm(), attach_by=AttachBy.ORCHESTRATOR, primary_storage=home.storage)
    attachment = give(driver, vm, home)
    assert 'dev="hdd" bus="ide"' in (attachment.xml or "")
    for bus in ("ide", "sata", "scsi"):
        element = attachment.facts[f"xml_{bus}"]
        assert [word in element for word in (f'<target bus="{bus}"', "optional", "ua-configdrive")] == [True] * 3


def test_a_drive_of_ours_before_the_installer_s_moves_and_a_user_s_is_left_where_it_is(
    cloud: Cloud, driver: KvmDriver, home: Place, tmp_path: Path
) -> None:
    vm, user = cloud.define(), blank(tmp_path / "installer.iso")
    assert give(driver, vm, home).device == "hdd"
    config = cloud.domain(vm).XMLDesc(INACTIVE).replace("<boot dev='hd'/>", "<boot dev='cdrom'/><boot dev='hd'/>")
    config = config.replace("'hdd'", "'hdb'").replace("bus='1' target='0' unit='1'", "bus='0' target='0' unit='1'")
    cloud.connection.defineXML(config.replace("</disk>", "</disk>" + disk(user, "hdc", "ide"), 1))
    assert give(driver, vm, home, 2).device == "hdd"
    assert set(cloud.media(vm)) == {"hdc", "hdd"}
