from typing import Final
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configdrive.model import ImageName
from workers.hypervisors.kvm.domain_xml import MARK, Device, Disk, Source, Target, disk_xml, read_definition, with_media

IMAGE = "i-2-3-VM.00000000-0000-4000-8000-000000000001.7.iso"
DOMAIN: Final = """
<domain type='kvm'>
  <name>i-2-3-VM</name>
  <metadata><x:y xmlns:x='urn:x'><disk type='file' device='cdrom'><source file='/evil'/></disk></x:y></metadata>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
  <devices>{}</devices>
</domain>
"""


def disks(xml: str) -> list[tuple[str, str, Source | None]]:
    return [(disk.device, disk.target.dev, disk.source) for disk in read_definition(DOMAIN.format(xml)).disks]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", None),
        ("<source/>", None),
        ("<source file=''/>", None),
        ("<source startupPolicy='optional' index='2'/>", None),
        ("<source file='/a/b.iso' index='1'/>", Source("/a/b.iso")),
        ("<source dev='/dev/vg/lv'/>", Source("/dev/vg/lv")),
        ("<source pool='p' volume='v.iso'/>", Source(None, "p", "v.iso")),
        ("<source protocol='https' name='x.iso'><host name='h'/></source>", Source()),
    ],
)
def test_a_drive_s_medium_is_read(source: str, expected: Source | None) -> None:
    assert disks(f"<disk device='cdrom'>{source}<target dev='hdd' bus='ide'/></disk>") == [("cdrom", "hdd", expected)]


def test_what_is_no_disk_of_the_domain_is_not_read() -> None:
    assert disks("<disk device='disk'><backingStore><source file='/b'/></backingStore><target dev='vda'/></disk>") == [
        ("disk", "vda", None)
    ]
    assert disks("<hostdev/><disk device='disk'/>") == []


@pytest.mark.parametrize(
    ("source", "ours"),
    [
        (f"file='/any/where/{IMAGE}'", True),
        (f"pool='configdrive-local' volume='{IMAGE}'", True),
        (f"file='/any/where/{IMAGE}.bak'", False),
        ("file='/var/lib/debian-12.iso'", False),
        (f"protocol='https' name='{IMAGE}'", False),
    ],
)
def test_an_image_of_the_fleet_is_known_by_its_name(source: str, ours: bool) -> None:  # noqa: FBT001
    (disk,) = read_definition(DOMAIN.format(f"<disk><source {source}/><target dev='hdd' bus='ide'/></disk>")).disks
    assert disk.image == (ImageName.parse(IMAGE) if ours else None)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), min_size=1))
def test_an_element_reads_back_as_it_was_written(name: str) -> None:
    (disk,) = read_definition(DOMAIN.format(disk_xml(Target("sda", "scsi"), f"/{name}", Device.CDROM))).disks
    assert (disk.device, disk.target, disk.source) == ("cdrom", Target("sda", "scsi"), Source(f"/{name}"))


@pytest.mark.parametrize(
    ("controllers", "scsi", "usb"),
    [
        ("", False, False),
        ("<controller type='scsi' model='virtio-scsi'/>", True, False),
        ("<controller type='scsi' model='lsilogic'/>", False, False),
        ("<controller type='usb' model='none'/>", False, False),
        ("<controller type='usb' model='piix3-uhci'/>", False, True),
        ("<controller type='usb'/>", False, True),
    ],
)
def test_controllers_say_what_can_be_plugged(controllers: str, *, scsi: bool, usb: bool) -> None:
    definition = read_definition(DOMAIN.format(controllers))
    assert (definition.has_virtio_scsi, definition.has_usb) == (scsi, usb)


def test_only_the_wanted_drive_of_a_saved_vm_is_changed() -> None:
    saved = DOMAIN.format(
        "<disk type='volume' device='cdrom'><source pool='p' volume='v'/><target dev='hdd' bus='ide'/></disk>"
        "<disk type='file' device='disk'><source file='/root'/><target dev='vda' bus='virtio'/></disk>"
    )
    changed = read_definition(with_media(saved, {"hdd": "/new.iso"}))
    assert [disk.source for disk in changed.disks] == [Source("/new.iso"), Source("/root")]
    emptied = read_definition(with_media(saved, {"hdd": None}))
    assert [disk.source for disk in emptied.disks] == [None, Source("/root")]
    assert "urn:x" in with_media(saved, {"hdd": None})


def drive(xml: str) -> Disk:
    (found,) = read_definition(DOMAIN.format(xml)).disks
    return found


USER_CD: Final = (
    "<disk type='file' device='cdrom'><driver name='qemu' type='raw' cache='none'/>{source}<target dev='hdc' bus='ide'"
    "{tray}/><readonly/><boot order='2'/><serial>CD-7</serial>{alias}<address type='drive' bus='1' unit='0'/></disk>"
)


def test_a_drive_of_the_user_s_keeps_all_that_it_has_but_its_medium() -> None:
    found = drive(USER_CD.format(source="", tray=" tray='open'", alias="<alias name='ua-mine'/>"))
    assert not found.is_ours
    for path in ("/new.iso", None):
        element = ET.fromstring(found.with_medium(path))  # noqa: S314  # our own
        assert [child.tag for child in element if child.tag != "source"] == [
            "driver", "target", "readonly", "boot", "serial", "alias", "address",
        ]  # fmt: skip
        source, target = element.find("source"), element.find("target")
        assert (None if source is None else source.get("file")) == path
        assert target is not None
        assert target.attrib == {"dev": "hdc", "bus": "ide"}


def test_a_drive_of_another_kind_becomes_a_file_s() -> None:
    xml = (
        "<disk type='block' device='cdrom'><source dev='/dev/sr0'/><backingStore/><target dev='hdc' bus='ide'/></disk>"
    )
    element = ET.fromstring(drive(xml).with_medium("/a.iso"))  # noqa: S314  # our own
    assert element.get("type") == "file"
    assert [(child.tag, child.attrib) for child in element] == [
        ("driver", {"name": "qemu", "type": "raw"}),
        ("source", {"file": "/a.iso", "startupPolicy": "optional"}),
        ("target", {"dev": "hdc", "bus": "ide"}),
    ]


@pytest.mark.parametrize(
    ("live", "config", "same"),
    [
        ({"source": "<source file='/a' index='3'/><backingStore/>", "alias": "<alias name='ide0-1-0'/>"}, {}, True),
        ({"alias": "<alias name='ua-mine'/>"}, {"alias": "<alias name='ua-mine'/>"}, True),
        ({"alias": "<alias name='ua-mine'/>"}, {}, False),
        ({"tray": " tray='open'"}, {}, True),
    ],
)
def test_one_change_does_for_two_definitions_only_if_the_drive_is_the_same_in_both(
    live: dict[str, str],
    config: dict[str, str],
    same: bool,  # noqa: FBT001  # a case
) -> None:
    plain = {"source": "", "tray": "", "alias": ""}
    frames = [drive(USER_CD.format(**{**plain, **words})).frame for words in (live, config)]
    assert (frames[0] == frames[1]) is same


def test_a_drive_that_the_fleet_adds_is_marked_and_a_disk_is_read_only() -> None:
    assert "<readonly" in disk_xml(Target("vdz", "virtio"), "/a.iso", Device.DISK)
    assert drive(disk_xml(Target("sda", "scsi"), None)).is_empty_cd
    assert drive(disk_xml(Target("sda", "scsi"), "/a.iso")).is_ours
    assert not drive(disk_xml(Target("sda", "scsi"), "/a.iso", mark=False)).is_ours
    assert f"<alias name='{MARK}'/>".replace("'", '"') in disk_xml(Target("sda", "scsi"), None).replace(" />", "/>")
