"""Images of strange contents, and strange images: further targets (`tests.fuzz.targets`)."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from random import Random
from typing import Any

from configdrive.contents.render import Files
from configdrive.errors import PermanentError
from configdrive.iso import build, read
from configdrive.iso.ecma119 import DamagedImageError
from configdrive.iso.verify import verify
from configdrive.model import Generation, ImageName, InstanceName
from tests.fuzz.mutations import MARKER
from tests.fuzz.targets import VM, refused, target

NAME = ImageName.of(InstanceName("i-2-14-VM"), VM, Generation(7))
PARTS = (
    "cloudstack",
    "password",
    "vm-id.txt",
    "a" * 64,
    "a" * 65,
    "A",
    "..",
    ".",
    "",
    "con",
    "x.",
    "é",
    "a b",
    "\x00",
    "-",
)


@target
def image_contents(random: Random) -> bool:
    """Files of any name and content under any label: an image that reads back, or a refusal."""
    files: Any = {
        "/".join(random.choice(PARTS) for _ in range(random.choice((1, 2, 3, 9)))): random.randbytes(
            random.choice((0, 1, 2_047, 2_048, 2_049, 10_000))
        )
        for _ in range(random.choice((0, 1, 2, 5)))
    } | {"cloudstack/metadata/vm-id.txt": b"14"}
    label = random.choice(("config", "config-2", "x" * 16, "x" * 17, "", "söhne", "a b", MARKER, "\x00"))
    built_at = random.choice((0.0, 1.5e9, 4.0e9))
    return not refused(lambda: build.build(NAME, Files(files), label=label, built_at=built_at))


@cache
def _image() -> tuple[Files, bytes]:
    files = Files({"cloudstack/metadata/vm-id.txt": b"14", "openstack/latest/user_data": b"x" * 5_000})
    return files, build.build(NAME, files, label="config", built_at=1.5e9).content


@target
def image_read_back(random: Random) -> bool:
    """An image, as it was built or with bytes changed: only the former is taken, whatever the latter are."""
    files, whole = _image()
    data = bytearray(whole)
    places = _places()
    for _ in range(random.choice((0, 1, 1, 2, 5))):
        at = random.choice(places)
        data[at] = random.choice((0, 1, 255, data[at] ^ (1 << random.randrange(8)), random.randrange(256)))
    if random.random() < 0.1:
        del data[random.randrange(len(data)) :]
    with suppress(DamagedImageError):
        read.read(bytes(data))
    try:
        verify(bytes(data), files, "config")
    except PermanentError:
        return False
    if data != whole:
        raise AssertionError("a damaged image was taken")
    return True


@cache
def _places() -> list[int]:
    return [at for at, byte in enumerate(_image()[1]) if byte]
