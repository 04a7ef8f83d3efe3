"""The files that readers open whose own code does not run here: path by path, and byte by byte.

The paths are from their sources: afterburn's `src/providers/cloudstack/configdrive.rs`, CloudStack's
`cloud-get-vm-data-configdrive`, its `cloud-set-guest-...-configdrive` scripts and its
`cloud-set-windows-guest-password-configdrive.bat`, and OpenStack's layout for Talos and coreos-cloudinit.
Each table has all that its reader opens and the drive has a value for.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.drives import KEYS, MAC, PASSWORD, VM
from tests.integration.readers.drives import USER_DATA, as_linux_shows, as_windows_shows, write_drive
from tests.support import require_rig

CHECKSUM: Final = hashlib.md5(PASSWORD.encode(), usedforsecurity=False).hexdigest().encode()
PUBLIC_KEYS: Final = "\n".join(key.key for key in KEYS).encode()

# It does not trim what it reads: no value may have a line end.
AFTERBURN: Final = {
    "cloudstack/metadata/availability_zone.txt": b"zone1",
    "cloudstack/metadata/cloud_identifier.txt": b"CloudStack-{5d53a4d3-9f3a-4a7d-8c2b-3e4f5a6b7c8d}",
    "cloudstack/metadata/instance_id.txt": b"i-2-14-VM",
    "cloudstack/metadata/local_hostname.txt": b"web-14",
    "cloudstack/metadata/service_offering.txt": b"Small Instance",
    "cloudstack/metadata/vm_id.txt": b"14",
    "cloudstack/metadata/public_keys.txt": PUBLIC_KEYS,
}
# Hyphens, but one script takes the keys with an underscore.
CLOUDSTACK_LINUX: Final = {
    "cloudstack/metadata/availability-zone.txt": b"zone1",
    "cloudstack/metadata/cloud-identifier.txt": b"CloudStack-{5d53a4d3-9f3a-4a7d-8c2b-3e4f5a6b7c8d}",
    "cloudstack/metadata/instance-id.txt": b"i-2-14-VM",
    "cloudstack/metadata/local-hostname.txt": b"web-14",
    "cloudstack/metadata/local-ipv4.txt": b"10.1.1.14",
    "cloudstack/metadata/public-ipv4.txt": b"192.0.2.14",
    "cloudstack/metadata/public-keys.txt": PUBLIC_KEYS,
    "cloudstack/metadata/public_keys.txt": PUBLIC_KEYS,
    "cloudstack/metadata/service-offering.txt": b"Small Instance",
    "cloudstack/metadata/vm-id.txt": b"14",
    "cloudstack/password/vm_password.txt": PASSWORD.encode(),
    "cloudstack/userdata/user_data.txt": USER_DATA,
}
CLOUDSTACK_WINDOWS: Final = {
    "CLOUDSTACK/PASSWORD/VM_PASSWORD.txt": PASSWORD.encode(),
    "CLOUDSTACK/PASSWORD/VM_PASSWORD_MD5CHECKSUM.txt": CHECKSUM,
}


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drive(tmp_path_factory.mktemp("drive") / "drive.iso", "config-2")


@pytest.fixture(scope="module")
def linux(drive: Path) -> Path:
    with require_rig():
        return as_linux_shows(drive, drive.parent / "linux")
    raise AssertionError


@pytest.fixture(scope="module")
def windows(drive: Path) -> Path:
    with require_rig():
        return as_windows_shows(drive, drive.parent / "windows")
    raise AssertionError


@pytest.mark.parametrize("wanted", [AFTERBURN, CLOUDSTACK_LINUX], ids=["afterburn", "CloudStack's Linux scripts"])
def test_on_linux(wanted: Mapping[str, bytes], linux: Path) -> None:
    assert {path: (linux / path).read_bytes() for path in wanted} == wanted


def test_on_windows(windows: Path) -> None:
    """Windows finds a name in whatever case; no two of ours may differ by nothing else."""
    shown = [path for path in windows.rglob("*") if path.is_file()]
    by_name = {path.relative_to(windows).as_posix().lower(): path.read_bytes() for path in shown}
    assert len(by_name) == len(shown)
    assert {path: by_name[path.lower()] for path in CLOUDSTACK_WINDOWS} == CLOUDSTACK_WINDOWS


def test_openstacks_layout(linux: Path) -> None:
    """Talos and coreos-cloudinit open these, and no dated directory."""
    latest = linux / "openstack" / "latest"
    assert {path.name for path in (linux / "openstack").iterdir()} == {"latest"}
    assert (latest / "user_data").read_bytes() == USER_DATA
    document = json.loads((latest / "meta_data.json").read_bytes())
    assert document["uuid"] == VM.uuid
    assert document["hostname"] == "web-14"
    assert document["public_keys"] == {key.name: key.key for key in KEYS}
    assert json.loads((latest / "network_data.json").read_bytes())["links"][0]["ethernet_mac_address"] == MAC
