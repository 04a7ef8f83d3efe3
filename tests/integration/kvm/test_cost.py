"""What an event costs libvirtd: so many calls and bytes, however many VMs and images its host has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import libvirt
import pytest

from rigs.libvirt_proxy import LibvirtProxy
from tests.contract.rig import image_name, make_image, new_vm
from tests.integration.kvm.cloud import disk, image_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from configdrive.model import Vm
    from tests.integration.kvm.cloud import Cloud
    from tests.integration.kvm.conftest import MakeDriver
    from workers.hypervisors.kvm.driver import KvmDriver

OTHERS = 60
IMAGE_BYTES = 380 * 1024


@dataclass(frozen=True)
class Case:
    """A VM, and the calls of a start that replaces its image, and of a stop."""

    slot: str
    running: bool
    start: int
    stop: int


CASES = {
    "halted, its own drive": Case(disk(None, "hdd", "ide"), running=False, start=11, stop=7),
    "halted, our drive": Case("", running=False, start=11, stop=7),
    "running, its own drive": Case(disk(None, "hdd", "ide"), running=True, start=13, stop=10),
    "running, our drive": Case("", running=True, start=14, stop=10),
}


@pytest.fixture
def proxy(cloud: Cloud) -> Iterator[LibvirtProxy]:
    with LibvirtProxy(cloud.host.port) as proxy:
        yield proxy


def start(driver: KvmDriver, vm: Vm, generation: int) -> None:
    """Do what a start does that replaces the image before."""
    image, old = make_image(vm, generation, sectors=IMAGE_BYTES // 2048), image_name(vm, generation - 1)
    seen = driver.observe(vm, (), [image.name, old])
    assert seen.storage is not None
    driver.upload(vm, image, seen.storage)
    driver.attach(vm, image.name, seen.storage)
    for stored in seen.images:
        driver.delete(vm, stored, anyones=False)


def stop(driver: KvmDriver, vm: Vm, generation: int) -> None:
    seen = driver.observe(vm, (), [image_name(vm, generation)])
    assert seen.media == (image_name(vm, generation),)
    driver.detach(vm, seen.media)
    for stored in seen.images:
        driver.delete(vm, stored, anyones=False)


@pytest.mark.parametrize("crowd", [0, OTHERS])
@pytest.mark.parametrize("name", CASES)
def test_an_event_costs_the_same_few_calls_on_an_empty_host_and_on_a_full_one(
    cloud: Cloud, make_driver: MakeDriver, proxy: LibvirtProxy, name: str, crowd: int
) -> None:
    case, driver = CASES[name], make_driver(uri=proxy.uri)
    vm = cloud.define(case.slot, devices="<controller type='scsi' index='0' model='virtio-scsi'/>")
    if case.running:  # but paused: a firmware that resets its drives costs a change more now and then
        cloud.domain(vm).createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    for _ in range(crowd):
        other = cloud.define(disk(cloud.pool / image_at(image_name(vm)), "hdd", "ide"))
        image = cloud.pool / image_at(image_name(other))
        image.parent.mkdir(exist_ok=True)
        image.write_bytes(bytes(4096))
    for generation in (1, 2):  # the first ones find out what there is to know of the host, and of the drive's tray
        start(driver, vm, generation)

    proxy.reset()
    start(driver, vm, 3)
    assert (sum(proxy.calls.values()), proxy.received < IMAGE_BYTES * 1.1 + 50_000) == (case.start, True), proxy.calls
    proxy.reset()
    stop(driver, vm, 3)
    assert (sum(proxy.calls.values()), proxy.received < 50_000) == (case.stop, True), proxy.calls


def test_a_host_without_a_pool_around_the_root_disk_is_listed_once_in_a_while(
    cloud: Cloud, make_driver: MakeDriver, proxy: LibvirtProxy
) -> None:
    """The pools have to be listed to know that none is around it; their definitions are not read again each time."""
    driver = make_driver(uri=proxy.uri)
    for number in range(8):
        cloud.add_pool(f"pool-{number}", cloud.pool.parent / f"pool-{number}")
    vm = cloud.define(root=disk("/somewhere/else/root.raw", "vda", "virtio", "disk"))
    driver.observe(vm, (), [])
    proxy.reset()
    seen = driver.observe(vm, (), [])
    assert seen.storage is not None
    assert seen.storage.storage == "host-cache"
    assert sum(proxy.calls.values()) <= 6
    assert driver.observe(new_vm("kvm", cloud.name)).storage is None
