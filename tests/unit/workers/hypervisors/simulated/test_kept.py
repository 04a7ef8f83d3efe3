"""Images that are kept, so that a test can look at all that guests ever saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rigs.simulated.audit import KEPT
from tests.unit.workers.hypervisors.simulated.cloud import AT_H1, Cloud, make_image

if TYPE_CHECKING:
    from pathlib import Path

    from configdrive.model import Vm


def attach(cloud: Cloud, vm: Vm, content: bytes) -> None:
    image = make_image(vm, 1, content)
    cloud.driver.upload(vm, image, AT_H1)
    cloud.driver.attach(vm, image.name, AT_H1)


def test_every_image_that_was_attached_is_kept_whatever_becomes_of_it(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path / "world", keep=True)
    vm = cloud.define()
    for content in (b"first", b"second"):
        attach(cloud, vm, content)
        attach(cloud, vm, content)  # in the drive already
        cloud.driver.detach(vm)
        attach(cloud, vm, content)
        cloud.driver.detach(vm)
    kept = list((cloud.folder / KEPT).iterdir())
    assert sorted(path.read_bytes() for path in kept) == [b"first", b"second"]
    assert {path.name.rpartition(".")[0] for path in kept} == {str(make_image(vm, 1).name)}
    assert (cloud.folder / KEPT).stat().st_mode & 0o777 == 0o700
