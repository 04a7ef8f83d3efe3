"""The KVM driver's other rig: a real libvirtd with QEMU, a real sshd, and images as files over SFTP.

The second storage is the host's cache directory. What happens in a VM's drives is the same as in `kvm.py`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from typing_extensions import override

from configdrive.model import Image, Place, StorageName, Vm
from tests.contract.rig import DriverRig, Feature
from tests.contract.rigs.kvm import HOST, KvmRig, open_cloud
from tests.support import require_rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from rigs.sshd import SshServer
    from tests.integration.kvm.cloud import Cloud

FEATURES = frozenset(Feature) - {Feature.TRAY_LOCK, Feature.DRIVES}


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


@contextmanager
def open_rig(folder: Path) -> Iterator[DriverRig]:
    from rigs.sshd import SshServer  # noqa: PLC0415

    with open_cloud(folder) as cloud:
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
