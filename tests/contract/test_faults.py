"""What goes wrong comes out in the fleet's own words, and nothing else comes out."""

from configdrive.errors import PermanentCode, TransientCode
from configdrive.model import HostName, Place, PowerState
from configdrive.ports import HypervisorDriver
from tests.contract.rig import DriverRig, failure_of, make_image, new_vm, verbs

NOWHERE = HostName("no-such-host")


def test_a_host_that_is_not_in_the_inventory_is_refused_and_a_finding_with_a_remedy(
    rig: DriverRig, driver: HypervisorDriver
) -> None:
    vm = new_vm(driver.name, NOWHERE)
    there = Place(rig.home.storage, NOWHERE)
    for name, verb in verbs(driver, vm, make_image(vm), there, there).items():
        failure = failure_of(verb)
        assert failure is not None, name
        assert failure.code is PermanentCode.UNKNOWN_HOST, name
    bad = [finding for finding in driver.check(NOWHERE) if not finding.ok]
    assert bad
    assert all(finding.detail and finding.remedy for finding in bad)


def test_a_host_that_is_down_is_reported_and_works_again_afterwards(rig: DriverRig, driver: HypervisorDriver) -> None:
    vm = rig.define_vm(PowerState.RUNNING)
    image = make_image(vm)
    driver.upload(vm, image, rig.home)
    driver.attach(vm, image.name, rig.home)
    before = driver.observe(vm)
    with rig.host_down():
        for name, verb in verbs(driver, vm, image, rig.home, rig.home).items():
            failure = failure_of(verb)
            assert failure is not None, name
            assert failure.code is TransientCode.HOST_UNREACHABLE, name
        findings = list(driver.check(rig.host))
        assert any(not finding.ok for finding in findings)
    assert driver.observe(vm) == before
    assert rig.medium(vm) == image.content
    assert rig.host in driver.hosts()
    findings = list(driver.check(rig.host))
    assert findings
    assert [finding for finding in findings if not finding.ok] == []


def test_only_fleet_errors_come_out_of_chaos_and_it_works_again_afterwards(
    rig: DriverRig, driver: HypervisorDriver
) -> None:
    vm = rig.define_vm()
    image = make_image(vm)
    for way, broken in rig.chaos(vm).items():
        driver.upload(vm, image, rig.home)
        driver.attach(vm, image.name, rig.home)
        fresh = rig.make_driver()  # holds nothing open yet that outlives the breaking
        with broken:
            failures = [failure_of(verb) for verb in verbs(fresh, vm, image, rig.home, rig.second).values()]
            assert any(failures), f"{way}: nothing failed"
            list(fresh.check(rig.host))  # raises nothing either
        for worker in (driver, fresh):
            for name, verb in verbs(worker, vm, image, rig.home, rig.second).items():
                assert failure_of(verb) is None, (way, name)
        fresh.close()
