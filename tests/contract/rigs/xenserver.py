"""The XenServer driver's rigs: the stand-in for XAPI, one host, and images by HTTPS import or by SFTP and a scan."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from typing_extensions import override

from configdrive.model import HostName, Image, ImageName, Place, PowerState, StorageName, Vm
from rigs.xapi import XapiPool, XapiSite
from tests.contract.rig import DriverRig, ImageFiles, image_name, new_vm, replaced
from tests.integration.xenserver.dom0 import Dom0Server
from tests.support import require_rig
from workers.hypervisors.xenserver.driver import XenServerDriver
from workers.hypervisors.xenserver.names import VM_MARK

HOST = HostName("h1")
FOLDER = "configdrive"


class XenServerRig:
    """A host with a local storage for root disks, and an NFS one.

    Args:
        pool: of the one host.
        table, host_table: what more the inventory says of the pool and the host.
    """

    def __init__(
        self, pool: XapiPool, table: dict[str, object] | None = None, host_table: dict[str, object] | None = None
    ) -> None:
        self._table, self._host_table = table or {}, host_table or {}
        self.host = HOST
        self._pool = pool
        self._site = XapiSite(pool)
        self._local = self._site.add_local_sr(HOST, "local")
        nfs = self._site.add_nfs_sr("nfs")
        self.home = Place(StorageName("local"), HOST, f"{self._local}/{pool.host(HOST).uuid}")
        self.second = Place(StorageName("nfs"), None, nfs)
        self._folder = pool.host(HOST).root / f"run/sr-mount/{self._local}/{FOLDER}"
        self._folder.mkdir()
        exported = self._site.export("nfs1", f"/export/primary/{nfs}/{FOLDER}")
        self.files = ImageFiles({self.home: self._folder, self.second: exported})

    def make_driver(self, *, force_eject: bool = True) -> XenServerDriver:
        table = {"password": self._pool.password, "user": self._pool.user, "ca_file": str(self._pool.ca), **self._table}
        hosts = {HOST: {"pool": "pool", "url": self._pool.host(HOST).url, **self._host_table}}
        section = {"pools": {"pool": table}, "hosts": hosts}
        return XenServerDriver.from_inventory(section, force_eject=force_eject, call_timeout=20.0)

    def define_vm(self, power: PowerState = PowerState.HALTED, *, drive: bool = True, name: str | None = None) -> Vm:
        vm = new_vm("xenserver", self.host, name)
        self._site.define_vm(vm.instance_name, self._local, uuid=vm.uuid)
        if drive:
            self._site.add_cd(vm.uuid, "2", {VM_MARK: vm.uuid})
        if power is PowerState.RUNNING:
            self.start_vm(vm)
        return vm

    def start_vm(self, vm: Vm) -> None:
        self._site.start_vm(vm.uuid)

    def stop_vm(self, vm: Vm) -> None:
        self._site.stop_vm(vm.uuid)

    def medium(self, vm: Vm) -> bytes | None:
        running = self._site.power(vm.uuid) == "Running"
        drives = [drive for drive in self._site.drives(vm.uuid) if drive.location and ImageName.parse(drive.location)]
        seen = [drive.content for drive in drives if drive.attached or not running]
        assert len(seen) <= 1
        return seen[0] if seen else None

    def is_read_only(self, vm: Vm) -> bool:
        drives = [drive for drive in self._site.drives(vm.uuid) if drive.location and ImageName.parse(drive.location)]
        return all((drive.mode, drive.kind) == ("RO", "CD") for drive in drives)

    def insert(self, vm: Vm, name: ImageName, place: Place) -> None:
        self._site.insert(vm.uuid, "2", self._iso_sr(place), name.file)

    def insert_user_iso(self, vm: Vm) -> None:
        self._site.add_user_iso(vm.uuid)

    def has_user_iso(self, vm: Vm) -> bool:
        return self._site.has_user_iso(vm.uuid)

    def lock_tray(self, vm: Vm) -> None:
        raise NotImplementedError

    def leave_half_upload(self, image: Image, place: Place) -> None:
        driver = self.make_driver()
        driver.upload(Vm(image.name.vm_uuid, image.name.instance_name, driver.name, self.host), image, place)
        driver.close()
        half = image.content[: len(image.content) // 2]
        self.files.put(place, image.name.file, half.ljust(len(image.content), b"\0"))

    def host_down(self) -> AbstractContextManager[None]:
        return self._pool.down(HOST)

    def chaos(self, vm: Vm) -> dict[str, AbstractContextManager[None]]:
        return {
            "the toolstack is away": self.host_down(),
            "the host is booting": self._pool.booting(HOST),
            "every call fails": self._faulty(lambda: self._pool.faults.fail("*", "INTERNAL_ERROR", times=None)),
            "every connection breaks": self._faulty(lambda: self._pool.faults.drop("*", times=None)),
            "the answer to a call is lost": self._faulty(lambda: self._pool.faults.drop("VBD.destroy")),
            "the storage's folder is gone": replaced(self._folder, lambda _: None),
            "an image is a folder": replaced(self._folder / image_name(vm).file, lambda path: path.mkdir()),
        }

    @contextmanager
    def _faulty(self, plant: Callable[[], None]) -> Iterator[None]:
        plant()
        try:
            yield
        finally:
            self._pool.faults.clear()

    def _iso_sr(self, place: Place) -> str:
        label = {self.home: self._local}.get(place)
        found = self._pool.call("SR.get_all_records")
        assert isinstance(found, dict)
        records = [record for record in found.values() if record["name_label"].startswith("configdrive ")]
        uuids = [record["uuid"] for record in records if (label in record["name_label"]) == (place == self.home)]
        return str(uuids[0])


class XenServerSftpRig(XenServerRig):
    """A killed upload leaves a half-written file of another name here."""

    @override
    def leave_half_upload(self, image: Image, place: Place) -> None:
        self.files.put(place, f"{image.name}.part", image.content[: len(image.content) // 2])

    @override
    def chaos(self, vm: Vm) -> dict[str, AbstractContextManager[None]]:
        ways = super().chaos(vm)
        others = ("the toolstack is away", "the storage's folder is gone", "an image is a folder")
        return {way: ways[way] for way in others}


@contextmanager
def _open_import(folder: Path) -> Iterator[DriverRig]:
    with require_rig():
        pool = XapiPool(folder / "pool", (HOST,))
    with pool:
        yield XenServerRig(pool)


@contextmanager
def _open_sftp(folder: Path) -> Iterator[DriverRig]:
    with require_rig():
        pool = XapiPool(folder / "pool", (HOST,))
    with pool, Dom0Server(folder / "ssh", pool.host(HOST)) as dom0:
        yield XenServerSftpRig(pool, {"storage_route": "sftp"}, {"ssh": dom0.table})


RIGS = {"xenserver": _open_import, "xenserver_sftp": _open_sftp}
