"""The KVM driver's rigs: a real libvirtd with QEMU, and images as libvirt volumes or, by a real sshd, as files.

The second storage is another pool, or the host's cache directory.
"""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import libvirt
from typing_extensions import override

from configdrive.model import HostName, Image, ImageName, Place, PowerState, StorageName, Vm, VmUuid
from rigs.libvirt import LibvirtHost
from rigs.sshd import SshServer
from tests.contract.rig import DriverRig, ImageFiles, image_name, new_vm, replaced
from tests.integration.kvm.cloud import Cloud, Drive, disk, identified
from tests.support import require_rig
from workers.hypervisors.kvm.driver import KvmDriver
from workers.hypervisors.kvm.image_folder import shard_of

HOST = HostName("h1")
USER_ISO = "debian-12.iso"


class KvmRig:
    """A host with a pool for root disks and another storage.

    Args:
        folder: for its files.
        cloud: the host.
        table: the host's in the inventory.
        second: the other storage, and where its images lie.
    """

    def __init__(self, folder: Path, cloud: Cloud, table: dict[str, object], second: tuple[Place, Path]) -> None:
        self.host = HOST
        self.home = identified(Place(StorageName("local"), HOST), folder / "local" / "configdrive")
        self.second = identified(*second)
        self._cloud = cloud
        self._folder = folder
        self._table = table
        self.files = ImageFiles({self.home: folder / "local" / "configdrive", self.second: second[1]}, _shard)
        (folder / USER_ISO).write_bytes(bytes(4096))

    def make_driver(self, *, force_eject: bool = True) -> KvmDriver:
        return KvmDriver.from_inventory({"hosts": {HOST: self._table}}, force_eject=force_eject, call_timeout=20.0)

    def define_vm(self, power: PowerState = PowerState.HALTED, *, drive: bool = True, name: str | None = None) -> Vm:
        slot = disk(None, "hdd", "ide") if drive else ""
        return self._cloud.define(slot, running=power is PowerState.RUNNING, vm=new_vm("kvm", HOST, name))

    def start_vm(self, vm: Vm) -> None:
        self._cloud.start(vm)

    def stop_vm(self, vm: Vm) -> None:
        self._cloud.stop(vm)

    def medium(self, vm: Vm) -> bytes | None:
        if self._cloud.domain(vm).isActive():
            paths = [drive.path for drive in self._config_drives(vm)]
        else:
            paths = list(self._cloud.media(vm).values())
        images = [path for path in paths if path is not None and not path.endswith(USER_ISO)]
        assert len(images) <= 1
        return Path(images[0]).read_bytes() if images else None

    def is_read_only(self, vm: Vm) -> bool:
        if not self._cloud.domain(vm).isActive():
            return "<readonly/>" in self._cloud.domain(vm).XMLDesc(0).split("hdd")[1]
        return all(drive.read_only for drive in self._config_drives(vm) if drive.path is not None)

    def insert(self, vm: Vm, name: ImageName, place: Place) -> None:
        self._cloud.exchange(vm, disk(self.files.path(place, str(name)), "hdd", "ide"))

    def insert_user_iso(self, vm: Vm) -> None:
        self._cloud.domain(vm).attachDeviceFlags(
            disk(self._folder / USER_ISO, "hdc", "ide"), libvirt.VIR_DOMAIN_AFFECT_CONFIG
        )

    def has_user_iso(self, vm: Vm) -> bool:
        layers = [self._cloud.media(vm), self._cloud.media(vm, inactive=True)]
        return all(layer.get("hdc") == str(self._folder / USER_ISO) for layer in layers)

    def lock_tray(self, vm: Vm) -> None:
        self._cloud.lock_tray(vm)

    def leave_half_upload(self, image: Image, place: Place) -> None:
        half = len(image.content) // 2
        self.files.put(place, str(image.name), image.content[:half].ljust(len(image.content), b"\0"))

    def host_down(self) -> AbstractContextManager[None]:
        return self._cloud.unreachable()

    def chaos(self, vm: Vm) -> dict[str, AbstractContextManager[None]]:
        images = self._folder / "local" / "configdrive"
        image = self.files.path(self.home, str(image_name(vm)))
        return {
            "the pool is not active": self._cloud.asleep("local"),
            "the storage's folder is gone": replaced(images, lambda _: None),
            "the storage's folder is a file": replaced(images, lambda path: path.touch()),
            "an image is a folder": replaced(image, lambda path: path.mkdir()),
            "libvirtd is gone": self.host_down(),
        }

    def _config_drives(self, vm: Vm) -> list[Drive]:
        return [drive for name, drive in self._cloud.drives(vm).items() if "virtio-disk0" not in name]


class KvmSftpRig(KvmRig):
    """As `KvmRig`, reached by SSH as well."""

    def __init__(
        self, folder: Path, cloud: Cloud, table: dict[str, object], second: tuple[Place, Path], ssh: SshServer
    ) -> None:
        super().__init__(folder, cloud, table, second)
        self._ssh = ssh

    @override
    def leave_half_upload(self, image: Image, place: Place) -> None:
        self.files.put(place, f"{image.name}.part", image.content[: len(image.content) // 2])

    @override
    def chaos(self, vm: Vm) -> dict[str, AbstractContextManager[None]]:
        ways = super().chaos(vm)
        del ways["the storage's folder is gone"]  # it is made anew, and nothing fails
        return {**ways, "sshd is gone": self._ssh_stopped()}

    @contextmanager
    def _ssh_stopped(self) -> Iterator[None]:
        self._ssh.stop()
        try:
            yield
        finally:
            self._ssh.start()


def _shard(file_name: str) -> str:
    owner = re.search(r"[0-9a-f-]{36}", file_name)
    return "" if owner is None else shard_of(VmUuid(owner[0]))


@contextmanager
def _open_cloud(folder: Path) -> Iterator[Cloud]:
    """Start a host whose root disks lie in a pool `local`, in the folder of that name."""
    with require_rig():
        host = LibvirtHost(folder / "host")
        host.start()
    try:
        cloud = Cloud(host, "local", folder / "local", HOST)
        yield cloud
        cloud.close()
    finally:
        host.stop()


@contextmanager
def _open_pools(folder: Path) -> Iterator[DriverRig]:
    with _open_cloud(folder) as cloud:
        cloud.host.define_pool("shared", folder / "shared")
        table: dict[str, object] = {"uri": cloud.host.uri, "pools": {"shared": {"shared": True}}}
        yield KvmRig(folder, cloud, table, (Place(StorageName("shared")), folder / "shared" / "configdrive"))


@contextmanager
def _open_sftp(folder: Path) -> Iterator[DriverRig]:
    with _open_cloud(folder) as cloud:
        with require_rig():
            ssh = SshServer(folder / "ssh", within=cloud.host.within)
            ssh.start()
        table: dict[str, object] = {
            "uri": cloud.host.uri,
            "storage_route": "sftp",
            "cache_directory": str(folder / "cache" / "images"),
            "ssh": ssh.table,
        }
        try:
            second = Place(StorageName("host-cache"), HOST), folder / "cache" / "images"
            yield KvmSftpRig(folder, cloud, table, second, ssh)
        finally:
            ssh.stop()


RIGS = {"kvm": _open_pools, "kvm_sftp": _open_sftp}
