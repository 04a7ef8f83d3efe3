"""What an event costs libvirtd: so many calls and bytes, however many VMs and images its host has."""

import itertools
from collections.abc import Iterator

import pytest

from configdrive.model import Vm
from rigs.libvirt_proxy import LibvirtProxy
from tests.contract.rig import image_name, make_image, new_vm
from tests.integration.kvm.cloud import HDD, SCSI, Cloud, MakeDriver, disk, image_at
from workers.hypervisors.kvm.driver import KvmDriver

OTHERS = 60
IMAGE_BYTES = 380 * 1024


CASES = {
    "halted, its own drive": (HDD, False, 11, 7),
    "halted, our drive": ("", False, 11, 7),
    "running, its own drive": (HDD, True, 13, 10),
    "running, our drive": ("", True, 14, 10),
}
"""VMs: their slot, whether they run, and the calls of a start that replaces their image, and of a stop."""


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


def test_an_event_costs_the_same_few_calls_on_an_empty_host_and_on_a_full_one(
    cloud: Cloud, make_driver: MakeDriver, proxy: LibvirtProxy
) -> None:
    for crowd, (name, (slot, running, starting, stopping)) in itertools.product((0, OTHERS), CASES.items()):
        driver, vm = make_driver(uri=proxy.uri), cloud.define(slot, devices=SCSI, running=running)
        for _ in range(len(cloud.connection.listAllDomains()), crowd):
            other = cloud.define(disk(cloud.pool / image_at(image_name(vm)), "hdd", "ide"))
            image = cloud.pool / image_at(image_name(other))
            image.parent.mkdir(exist_ok=True)
            image.write_bytes(bytes(4096))
        for generation in (1, 2):  # the first ones find out what there is to know of the host, and of the drive's tray
            start(driver, vm, generation)

        proxy.reset()
        start(driver, vm, 3)
        assert (sum(proxy.calls.values()), proxy.received < IMAGE_BYTES * 1.1 + 50_000) == (starting, True), (
            name,
            crowd,
            proxy.calls,
        )
        proxy.reset()
        stop(driver, vm, 3)
        assert (sum(proxy.calls.values()), proxy.received < 50_000) == (stopping, True), (name, crowd, proxy.calls)


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
