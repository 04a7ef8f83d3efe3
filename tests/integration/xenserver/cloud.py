"""A small cloud on the stand-in for XAPI: two hosts, storages of every kind, and drivers as worker processes have."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from configdrive.model import HostName, ImageName, Place, StorageName, Vm
from configdrive.ports import Attachment
from rigs.running_files import read_files_below
from rigs.xapi import Drive, XapiPool, XapiSite
from rigs.xapi.world import host_uuid
from tests.contract.rig import image_name, make_image, new_vm
from workers.hypervisors.xenserver.driver import XenServerDriver

A, B = HostName("xapi-A"), HostName("xapi-B")
SRS = [f"5a000000-0000-4000-8000-00000000000{number}" for number in range(4)]
"""The uuids of `nfs`, `local` on either host, and `iscsi`."""


def _place(name: str, sr: str, host: HostName | None = None) -> Place:
    return Place(StorageName(name), host, f"{sr}/{host_uuid(host)}" if host else sr)


NFS = _place("nfs", SRS[0])
LOCAL_A, LOCAL_B = _place("local", SRS[1], A), _place("local", SRS[2], B)
BLOCK_A, BLOCK_B = _place("iscsi", SRS[3], A), _place("iscsi", SRS[3], B)
FOLDER = "configdrive"
CACHE = "var/opt/xen/configdrive"


@dataclass
class Cloud:
    """Two hosts in a pool, the storages `nfs` (shared files), `local` (each host's own) and `iscsi` (shared, no files).

    Args:
        pool: need not listen yet.
        prepared: whether the directories for images are there, as an administrator makes them.
    """

    pool: XapiPool
    prepared: bool = True
    storages: dict[Place, str] = field(default_factory=dict)
    drivers: list[XenServerDriver] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.site = XapiSite(self.pool)
        self.pool.world.uuids += SRS
        self.storages[NFS] = self.site.add_nfs_sr("nfs")
        for host, local in ((A, LOCAL_A), (B, LOCAL_B)):
            self.storages[local] = self.site.add_local_sr(host, "local")
        self.storages[BLOCK_A] = self.storages[BLOCK_B] = self.site.add_block_sr("iscsi")
        if self.prepared:
            for place in self.storages:
                self.folder(place).mkdir(parents=True)

    def call(self, method: str, *arguments: object) -> Any:  # noqa: ANN401  # as XAPI answers
        """Ask past the driver, uncounted."""
        return self.pool.call(method, *arguments)

    def folder(self, place: Place) -> Path:
        """Where the images of a storage lie."""
        uuid = self.storages[place]
        if place.host is None:
            return self.site.export("nfs1", "/export/primary") / uuid / FOLDER
        root = self.pool.host(place.host).root
        return root / (f"{CACHE}/{uuid}" if place.storage == "iscsi" else f"run/sr-mount/{uuid}/{FOLDER}")

    def section(self, hosts: dict[str, dict[str, object]] | None = None, **pool: object) -> dict[str, Any]:
        """The inventory's table."""
        table = {"user": self.pool.user, "password": self.pool.password, "ca_file": str(self.pool.ca), **pool}
        known = {host.name: {"pool": "p", "url": host.url} for host in self.pool.hosts}
        return {
            "pools": {"p": {key: value for key, value in table.items() if value is not None}},
            "hosts": {name: {**fields, **(hosts or {}).get(name, {})} for name, fields in known.items()},
        }

    def driver(
        self, hosts: dict[str, dict[str, object]] | None = None, *, timeout: float = 20.0, **pool: object
    ) -> XenServerDriver:
        """A new driver, as a worker process would make one."""
        made = XenServerDriver.from_inventory(self.section(hosts, **pool), call_timeout=timeout)
        self.drivers.append(made)
        return made

    def vm(self, place: Place = NFS, host: HostName = A, *, running: bool = False, **options: Any) -> Vm:  # noqa: ANN401
        """A new VM with its root disk on a storage."""
        vm = new_vm("xenserver", host)
        self.site.define_vm(vm.instance_name, self.storages[place], uuid=vm.uuid, host=host, **options)
        if running:
            self.site.start_vm(vm.uuid, host)
        return vm

    def ref(self, vm: Vm) -> str:
        """XAPI's reference of a VM."""
        return str(self.call("VM.get_by_uuid", vm.uuid))

    def config_drives(self, vm: Vm) -> list[Drive]:
        """The VM's drives with an image of the fleet in them."""
        return [drive for drive in self.site.drives(vm.uuid) if drive.location and ImageName.parse(drive.location)]

    def medium(self, vm: Vm) -> bytes | None:
        """What the guest finds in its config drive, or would at its next boot."""
        found = [drive.content for drive in self.config_drives(vm)]
        assert len(found) <= 1
        return found[0] if found else None

    def images(self, place: Place) -> dict[str, bytes]:
        """Every file of a storage's image folder, by its name."""
        return {path.name: content for path, content in read_files_below(self.folder(place))}

    def iso_srs(self) -> list[dict[str, Any]]:
        """Every ISO SR that the fleet has made."""
        records = self.call("SR.get_all_records").values()
        return [record for record in records if record["name_label"].startswith("configdrive ")]

    def close(self) -> None:
        """Log all drivers out."""
        for driver in self.drivers:
            driver.close()


def give(driver: XenServerDriver, vm: Vm, generation: int = 1, place: Place = NFS) -> Attachment:
    """Bring a VM's image of this generation to a storage, and put it into the config drive."""
    driver.upload(vm, make_image(vm, generation), place)
    return driver.attach(vm, image_name(vm, generation), place)


def given(cloud: Cloud, driver: XenServerDriver, place: Place = NFS, *, running: bool = False) -> Vm:
    """Make a VM with its first image in the config drive."""
    vm = cloud.vm(place)
    give(driver, vm, place=place)
    if running:
        cloud.site.start_vm(vm.uuid, A)
    return vm
