"""`python -m tests.integration.readers.cloudbase BSDTAR <drives.json`: cloudbase-init's own reader, with our drives.

Its Windows code runs; what only Windows can answer is answered here: which CD drives and disks there are, and their
labels. Each drive is `{"label": text, "tree": path, "image": path}`: the tree is what Windows would show of it, the
image is the drive as a raw disk, whose sectors are read. Prints one line of JSON for all of them.
"""

import importlib
import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any, Self


class Windows:
    """What cloudbase-init asks of Windows."""

    def __init__(self, label: str, tree: str = "", image: str = "") -> None:
        self._label = label
        self._tree = tree
        self._image = image

    def get_cdrom_drives(self) -> list[str]:
        return [self._tree] if self._tree else []

    def get_volumes(self) -> list[str]:
        return []

    def get_physical_disks(self) -> list[str]:
        return [self._image] if self._image else []

    def get_volume_label(self, _drive: str) -> str:
        return self._label

    def execute_process(self, arguments: list[str], _shell: bool) -> tuple[bytes, bytes, int]:  # noqa: FBT001
        done = subprocess.run(arguments, check=False, capture_output=True, timeout=600)
        return done.stdout, done.stderr, done.returncode


class Disk:
    """A raw disk, as `cloudbaseinit.utils.windows.disk` offers one; it reads whole sectors only."""

    fixed = True
    _SECTOR = 512

    def __init__(self, path: str) -> None:
        self._content = Path(path).read_bytes()
        self.size = len(self._content)
        self._at = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        pass

    def partitions(self) -> list["Disk"]:
        return []

    def seek(self, offset: int) -> int:
        self._at = offset // self._SECTOR * self._SECTOR
        return self._at

    def read(self, size: int, skip: int = 0) -> bytes:
        return self._content[self._at + skip : self._at + skip + size]


def main() -> None:
    """Let it look for its config drive in all places, with one drive after another, and print what it took."""
    for name in ("disk", "vfat"):  # both load Windows' libraries at their import
        stand_in: Any = types.ModuleType(f"cloudbaseinit.utils.windows.{name}")
        stand_in.Disk = Disk
        stand_in.is_vfat_drive = lambda *_arguments: False
        sys.modules[stand_in.__name__] = stand_in
    conf: Any = importlib.import_module("cloudbaseinit.conf")
    conf.CONF.set_override("bsdtar_path", sys.argv[1])
    sys.platform = "win32"
    sys.stdout.write(json.dumps([_taken(Windows(**drive)) for drive in json.load(sys.stdin)]) + "\n")


def _taken(windows: Windows) -> dict[str, Any]:
    factory: Any = importlib.import_module("cloudbaseinit.osutils.factory")
    factory.get_os_utils = lambda: windows
    module: Any = importlib.import_module("cloudbaseinit.metadata.services.configdrive")
    service = module.ConfigDriveService()
    service._metadata_file = service._metadata_file.replace("\\", "/")
    result: dict[str, Any] = {"found": service.load()}
    if result["found"]:
        network = service.get_network_details_v2()
        result |= {
            "hostname": service.get_host_name(),
            "instance_id": service.get_instance_id(),
            "keys": sorted(service.get_public_keys()),
            "password": service.get_admin_password(),
            "user_data": service.get_user_data().hex(),
            "network": None if network is None else _plain(network),
        }
        service.cleanup()
    return result


def _plain(value: object) -> object:
    """Return its named tuples as dictionaries."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(part) for name, part in value._asdict().items()}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value


if __name__ == "__main__":
    main()
