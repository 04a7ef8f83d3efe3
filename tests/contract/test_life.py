"""Whole lives of drives: in order, doubled, interrupted, several at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from configdrive.model import PowerState, Vm
from configdrive.ports import EmptyDrive, HypervisorDriver, NoDrive
from rigs.process import wait_until
from tests.contract.rig import DriverRig, image_name, make_image, verbs

POWERS = [PowerState.HALTED, PowerState.RUNNING]


def live(rig: DriverRig, driver: HypervisorDriver, vm: Vm, *, times: int = 1) -> None:
    """Give the VM one image, then a newer one, then none; each verb `times` times."""
    for generation in (1, 2):
        image = make_image(vm, generation)
        for _ in range(times):
            driver.upload(vm, image, rig.home)
        for _ in range(times):
            driver.attach(vm, image.name, rig.home)
        assert rig.medium(vm) == image.content
    for _ in range(times):
        driver.detach(vm)
    for image_file in driver.observe(vm, [rig.second]).images:
        for _ in range(times):
            driver.delete(vm, image_file)
    assert rig.medium(vm) is None
    assert rig.files.of(vm) == []


@pytest.mark.parametrize("power", POWERS)
def test_after_a_full_life_nothing_of_ours_is_left(rig: DriverRig, driver: HypervisorDriver, power: PowerState) -> None:
    vm = rig.define_vm(power)
    for times in (1, 2):
        live(rig, driver, vm, times=times)
        seen = driver.observe(vm, [rig.second])
        assert (seen.power, seen.images) == (power, ())
        assert seen.drive in (EmptyDrive(), NoDrive())


@pytest.mark.parametrize("power", POWERS)
def test_every_verb_done_again_by_another_worker_leaves_things_as_they_are(rig: DriverRig, power: PowerState) -> None:
    vm = rig.define_vm(power)
    image = make_image(vm)
    first, second = rig.make_driver(), rig.make_driver()
    again = verbs(second, vm, image, rig.home, rig.second)
    for name, verb in verbs(first, vm, image, rig.home, rig.second).items():
        verb()
        after_once = first.observe(vm, [rig.second])
        again[name]()
        assert second.observe(vm, [rig.second]) == after_once, name
    first.close()
    second.close()


def test_two_vms_live_at_once_on_one_driver_and_do_not_touch_their_neighbour(
    rig: DriverRig, driver: HypervisorDriver
) -> None:
    neighbour, *vms = [rig.define_vm(PowerState.RUNNING) for _ in range(3)]
    image = make_image(neighbour)
    driver.upload(neighbour, image, rig.home)
    driver.attach(neighbour, image.name, rig.home)
    before = driver.observe(neighbour)

    def lives(vm: Vm) -> None:
        for _ in range(3):
            live(rig, driver, vm)

    with ThreadPoolExecutor(len(vms)) as pool:
        for done in [pool.submit(lives, vm) for vm in vms]:
            done.result(timeout=300)
    assert driver.observe(neighbour) == before
    assert rig.medium(neighbour) == image.content
    assert rig.files.of(neighbour) == [str(image_name(neighbour))]


def test_connections_are_counted_by_endpoint_and_none_is_left_at_the_end(rig: DriverRig) -> None:
    driver, vm = rig.make_driver(), rig.define_vm()

    def count() -> int:
        return sum(one.open for one in driver.connections())

    endpoints = [(one.endpoint, one.kind) for one in driver.connections()]
    assert len(endpoints) == len(set(endpoints)) > 0
    assert count() == 0, "none before it is needed"
    live(rig, driver, vm)
    assert all(one.open >= 0 and one.reopened == 0 for one in driver.connections())
    assert (count() > 0) == (vm.hypervisor != "simulated")
    for _ in range(2):
        driver.close()
    wait_until(lambda: count() == 0, "all to be closed", timeout=5)
    assert [(one.endpoint, one.kind) for one in driver.connections()] == endpoints
