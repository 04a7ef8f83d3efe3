"""What several tests here build drives from: a VM and its data, and trees of files with strategies for them."""

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from pydantic import SecretStr

from configdrive.contents import render as contents
from configdrive.drive_data import VmData
from configdrive.iso import build as image
from configdrive.iso import layout
from configdrive.model import DriveSettings, Generation, GuestOs, Image, ImageName
from tests.drives import VM
from tests.unit.strategies import WORD


def render(
    data: VmData | None = None,
    password: str | None = None,
    guest_os: GuestOs | None = None,
    settings: DriveSettings = contents.DEFAULTS,
) -> contents.Files:
    vm = replace(VM, guest_os=guest_os)
    return contents.render(vm, data or VmData(), None if password is None else SecretStr(password), settings)


def document(files: contents.Files, path: str) -> Any:  # noqa: ANN401
    return json.loads(files[path])


NAME = ImageName.of(VM.instance_name, VM.uuid, Generation(7))
BUILT_AT = 1_489_130_003.75  # 2017-03-10 07:13:23 UTC, the seed's directories
PASSWORD = b"correct horse battery staple"
FILES = {
    "cloudstack/metadata/vm_id.txt": b"14",
    "cloudstack/metadata/vm-id.txt": b"14",
    "cloudstack/metadata/empty.txt": b"",
    "cloudstack/password/vm_password.txt": PASSWORD,
    "cloudstack/userdata/user_data.txt": bytes(range(256)) * 9,
    "openstack/latest/user_data": bytes(range(256)) * 9,
}

parts = st.text(WORD + "._-", min_size=1, max_size=64).filter(layout._NAME.fullmatch)
short_parts = st.sampled_from(["a", "b", "c-d", "c_d", "..x", "E.F", "0" * 64])
paths = st.lists(short_parts | parts, min_size=1, max_size=4).map("/".join).filter(lambda path: len(path) <= 255)
# Around the sector's size, where an off-by-one would show.
sizes = st.sampled_from([0, 1, 2047, 2048, 2049, 4095, 4096, 4097]) | st.integers(0, 300)
blobs = (
    st.builds(lambda seed, size: (bytes([seed]) + b"\x00\xff" * 2049)[:size], st.integers(0, 3), sizes) | st.binary()
)
trees = st.dictionaries(paths, blobs, max_size=12)


def build(
    files: Mapping[str, bytes] = FILES,
    label: str = "config",
    built_at: float = BUILT_AT,
    directories: Collection[str] = contents.DIRECTORIES,
) -> Image:
    return image.build(NAME, files, label=label, built_at=built_at, directories=directories)


def tell_apart(files: Collection[str]) -> bool:
    """Say whether no path is another one's folder, nor another one in a different case."""
    folders = {"/".join(path.split("/")[:depth]) for path in files for depth in range(1, path.count("/") + 1)}
    folders |= {"cloudstack", "openstack", "ec2", *contents.DIRECTORIES}
    everything = [*files, *folders]
    return len({path.lower().replace("-", "_") for path in everything}) == len(
        {path.replace("-", "_") for path in everything}
    ) and not folders & set(files)
