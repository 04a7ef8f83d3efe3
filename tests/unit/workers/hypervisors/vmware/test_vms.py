"""Reading datastore paths and VMs, and choosing the drive and the API's version: what needs no server."""

from collections.abc import Iterable

import pytest

from configdrive.errors import PermanentCode
from configdrive.model import Generation, ImageName, InstanceName, Place, PowerState, StorageName, VmUuid
from configdrive.ports import EmptyDrive, Inserted, NoDrive
from tests.support import error_of

pytest.importorskip("pyVmomi")

from workers.hypervisors.vmware.paths import image_at, is_in, split
from workers.hypervisors.vmware.records import Drive, SeenVm
from workers.hypervisors.vmware.slots import content, expected_device, find_slot
from workers.hypervisors.vmware.versions import newest

UUID, OTHER = VmUuid("9c5e5ac4-13f2-4a3b-8f2e-0d2d5b9f6a01"), VmUuid("11111111-2222-3333-4444-555555555555")
DEFAULT = ("ide:1:1", "ide:0:1", "ide:0:0", "sata")
IDE = {200: ("ide", 0), 201: ("ide", 1)}


def name(generation: int = 1, vm: VmUuid = UUID) -> ImageName:
    return ImageName.of(InstanceName("i-2-1-VM"), vm, Generation(generation))


def path(generation: int = 1, vm: VmUuid = UUID, store: str = "s") -> str:
    return f"[{store}] configdrive/{name(generation, vm)}"


def drive(controller: int, unit: int, iso: str | None = None, *, empty: bool | None = None) -> Drive:
    unused = iso is None if empty is None else empty
    return Drive(object(), controller, unit, iso, "", unused, connected=True, starts=True)


def seen_vm(
    *drives: Drive,
    power: PowerState = PowerState.HALTED,
    controllers: dict[int, tuple[str, int]] | None = None,
    taken: Iterable[tuple[int, int]] = (),
) -> SeenVm:
    places = {(one.controller, one.unit) for one in drives} | set(taken)
    return SeenVm(
        ref=None,
        uuid=UUID,
        name="i-2-1-VM",
        power=power,
        host="host-1",
        version="1",
        controllers=IDE if controllers is None else controllers,
        pci=100,
        taken=frozenset(places),
        drives=drives,
        root="s",
        home=("s", "i-2-1-VM"),
        stores=(),
        question=None,
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[s] configdrive/a.iso", ("s", "configdrive/a.iso")),
        ("[s]configdrive/a.iso", ("s", "configdrive/a.iso")),
        ("[data store (1)] a", ("data store (1)", "a")),
        ("[] /usr/lib/vmware/isoimages/linux.iso", ("", "/usr/lib/vmware/isoimages/linux.iso")),
        ("ds:///vmfs/volumes/1/a.iso", ("", "ds:///vmfs/volumes/1/a.iso")),
    ],
)
def test_a_datastore_path_is_split(text: str, parts: tuple[str, str]) -> None:
    assert split(text) == parts


def test_paths_are_the_same_file_whatever_their_capitals_but_on_one_datastore_only() -> None:
    assert is_in(path().upper().replace("[S]", "[s]"), "", path(), "datastore-1")
    assert is_in(path(store="renamed"), "datastore-1", path(), "datastore-1")
    assert not is_in(path(), "datastore-2", path(), "datastore-1")
    assert not is_in(path(store="S"), "", path(), "datastore-1")
    assert not is_in(path(2), "datastore-1", path(), "datastore-1")
    assert not is_in(None, "datastore-1", path(), "datastore-1")


@pytest.mark.parametrize("form", [str, str.upper, str.lower])
def test_an_image_is_known_by_its_name_however_it_is_capitalised(form: type[str]) -> None:
    found = image_at(form(path(7)))
    assert found is not None
    assert (found.vm_uuid, found.generation) == (UUID, 7)


@pytest.mark.parametrize("text", ["[s] configdrive/x.iso", "[s] a/debian-12.iso", path() + ".part", ""])
def test_any_other_file_is_nobody_s(text: str) -> None:
    assert image_at(text) is None


@pytest.mark.parametrize(
    ("found", "device"),
    [
        (seen_vm(), "ide1:1"),
        (seen_vm(drive(201, 1)), "ide1:1"),
        (seen_vm(drive(201, 1, "[s] user.iso")), "ide0:1"),
        (seen_vm(drive(201, 1, empty=False)), "ide0:1"),  # a drive of the host
        (seen_vm(taken=[(201, 1), (200, 1)]), "ide0:0"),  # disks
        (seen_vm(taken=[(201, 1), (200, 1), (200, 0)]), "sata0:1"),
        (seen_vm(controllers={}), "sata0:1"),
        (seen_vm(controllers={15000: ("sata", 0)}), "sata0:1"),
        (seen_vm(drive(15000, 1, "[s] user.iso"), controllers={15000: ("sata", 0)}), "sata0:2"),
        (seen_vm(controllers={15000: ("sata", 0)}, taken=[(15000, unit) for unit in range(30)]), "sata1:0"),
        (seen_vm(drive(200, 0, path())), "ide0:0"),  # where it is already
        (seen_vm(drive(15000, 7), controllers={**IDE, 15000: ("sata", 0)}), "sata0:7"),  # left by a detach
        (seen_vm(power=PowerState.RUNNING), "sata0:1"),
        (seen_vm(drive(200, 0), power=PowerState.RUNNING), "ide0:0"),
        (seen_vm(drive(201, 0), power=PowerState.RUNNING), "sata0:1"),  # the user's
        (seen_vm(drive(15000, 5), controllers={15000: ("sata", 0)}, power=PowerState.RUNNING), "sata0:5"),
    ],
)
def test_the_config_drive_is_chosen(found: SeenVm, device: str) -> None:
    assert find_slot(found, DEFAULT).device == device


def test_where_no_place_is_left_it_is_reported() -> None:
    full = seen_vm(controllers={15000: ("sata", 0)}, taken=[(15000, unit) for unit in range(30)])
    assert error_of(find_slot, full, ("sata:0:3",)).code is PermanentCode.NO_FREE_SLOT


def test_an_image_of_its_own_shows_the_config_drive_before_that_of_the_vm_it_was_cloned_from() -> None:
    found = seen_vm(drive(201, 0, path(vm=OTHER)), drive(201, 1, path()))
    assert find_slot(found, DEFAULT).device == "ide1:1"
    assert find_slot(seen_vm(drive(201, 0, path(vm=OTHER))), DEFAULT).device == "ide1:0"


def place_of(drive: Drive) -> Place:
    return Place(StorageName(split(drive.path or "")[0]))


HERE = Place(StorageName("s"))


@pytest.mark.parametrize(
    ("found", "seen"),
    [
        (seen_vm(), NoDrive()),
        (seen_vm(drive(201, 1)), EmptyDrive()),
        (seen_vm(drive(201, 0)), NoDrive()),  # the user's
        (seen_vm(drive(201, 0, path())), Inserted(name(), HERE)),  # ours, wherever it is
        (seen_vm(drive(201, 1, path(2)), drive(200, 1, path(1))), Inserted(name(1), HERE)),
        (seen_vm(drive(201, 1, path(1)), drive(200, 1, path(2, OTHER))), Inserted(name(2, OTHER), HERE)),
        (seen_vm(drive(201, 1, path()), drive(200, 1, path(store="t"))), Inserted(name(), Place(StorageName("t")))),
    ],
)
def test_what_still_has_to_go_is_reported_first(found: SeenVm, seen: object) -> None:
    assert content(found, place_of, HERE, DEFAULT) == seen


@pytest.mark.parametrize(
    ("wanted", "device"), [(DEFAULT, "ide1:1"), (("sata",), "sata0:1"), (("sata:2:9",), "sata2:9")]
)
def test_the_orchestrator_gets_the_first_choice(wanted: tuple[str, ...], device: str) -> None:
    assert expected_device(wanted) == device


def listing(*versions: str) -> str:
    prior = "".join(f"<version>{one}</version>" for one in versions[1:])
    spaces = (f"<name>urn:vim25</name>\n<version>{versions[0]}</version><priorVersions>{prior}</priorVersions>",)
    other = "<name>urn:sms</name><version>6.7</version>"
    return "<namespaces>" + "".join(f"<namespace>{one}</namespace>" for one in (other, *spaces)) + "</namespaces>"


@pytest.mark.parametrize(
    ("listed", "spoken"),
    [
        (("6.0", "5.5"), "vim.version.version10"),
        (("6.5", "6.0", "5.5"), "vim.version.version11"),
        (("8.0.3.0", "8.0.2.0", "6.7.3", "6.5", "6.0"), "vim.version.v8_0_3_0"),
        (("99.1", "8.0.3.0", "6.5"), "vim.version.v8_0_3_0"),  # newer than this pyvmomi
        (("5.5", "5.1"), None),
        (("99.1",), None),
    ],
    ids=str,
)
def test_the_newest_that_both_know_and_never_one_before_6_0(listed: tuple[str, ...], spoken: str | None) -> None:
    assert newest(listing(*listed)) == spoken
