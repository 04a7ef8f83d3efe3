"""A toolstack that is restarted at any call, before its effect or after it: done again, the verb ends as ever.

With it go the answer, sessions and tasks, and an import leaves its image with the control domain.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from configdrive.errors import TransientError
from configdrive.model import StoredImage
from rigs.xapi.faults import EXPORT, IMPORT
from tests.contract.rig import image_name, make_image
from tests.integration.xenserver.cloud import NFS, A, Cloud

if TYPE_CHECKING:
    from collections.abc import Callable

    from configdrive.model import Vm
    from workers.hypervisors.xenserver.driver import XenServerDriver

CHANGES = (
    *("VDI.create", "VDI.destroy", "VBD.create", "VBD.insert", "VBD.eject", "VBD.destroy", "VBD.set_other_config"),
    *("task.create", "task.destroy", "SR.create", "SR.add_to_other_config", "SR.remove_from_other_config"),
)
LOOKS = (
    *("VM.get_all_records_where", "VM.get_record", "VBD.get_all_records_where", "VDI.get_all_records_where"),
    *(
        "VBD.get_record",
        "VDI.get_record",
        "VDI.get_SR",
        "SR.get_all_records",
        "host.get_all_records",
        "host_metrics.get_all_records",
        "task.get_record",
        IMPORT,
        EXPORT,
    ),
)
MOST_ATTEMPTS = 4


def until_done(verb: Callable[[], object]) -> int:
    """Do a verb as the queue does: again, until it ends. Returns how often."""
    for attempt in range(1, MOST_ATTEMPTS + 1):
        try:
            verb()
        except TransientError:
            continue
        return attempt
    pytest.fail("it does not end")


def live(cloud: Cloud, driver: XenServerDriver, vm: Vm, plant: Callable[[], None]) -> int:
    """Give a VM two images, one after the other, and take both away; something breaks in every verb."""
    attempts = 0
    for generation in (1, 2):
        image = make_image(vm, generation)
        for verb in (partial(driver.upload, vm, image, NFS), partial(driver.attach, vm, image.name, NFS)):
            plant()
            attempts += until_done(verb)
        assert cloud.medium(vm) == image.content
    first, second = (StoredImage(image_name(vm, generation), NFS) for generation in (1, 2))
    for last in (partial(driver.delete, vm, first), partial(driver.detach, vm), partial(driver.delete, vm, second)):
        plant()
        attempts += until_done(last)
    return attempts


@pytest.mark.parametrize("method", [*CHANGES, *LOOKS])
@pytest.mark.parametrize("after_effect", [True, False])
def test_wherever_the_toolstack_is_restarted_the_end_is_as_ever(
    cloud: Cloud, method: str, *, after_effect: bool
) -> None:
    vm, driver = cloud.vm(), cloud.driver(timeout=10.0)

    def plant() -> None:
        cloud.pool.faults.clear()
        restart = partial(cloud.pool.restart_toolstack, A)
        cloud.pool.faults.drop(method, after_effect=after_effect, meanwhile=restart)
        driver._pools[A].kept.topology = None

    live(cloud, driver, vm, plant)
    cloud.pool.faults.clear()
    assert (cloud.images(NFS), cloud.medium(vm)) == ({}, None)
    assert [drive.kind for drive in cloud.site.drives(vm.uuid)] == ["Disk"]
    assert len(cloud.iso_srs()) == 1


def test_nothing_breaks_when_nothing_is_broken(cloud: Cloud, driver: XenServerDriver) -> None:
    assert live(cloud, driver, cloud.vm(), lambda: None) == 7
