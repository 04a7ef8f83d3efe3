"""Injected faults: where they strike, how often, and that a killed worker's successor carries on."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool

import pytest

from configdrive.errors import TransientCode
from configdrive.model import PowerState
from rigs.simulated.faults import Hang, Kill, Point, Raise
from tests.contract.rig import failure_of, verbs
from tests.unit.workers.hypervisors.simulated.cloud import AT_H1, SHARED, Cloud, make_image, processes, work
from workers.hypervisors.simulated.inventory import Verb

BUSY = TransientCode.VM_BUSY
WRITING = {Verb.UPLOAD, Verb.COPY}
PLACES = [(verb, point) for verb in Verb for point in Point if point is not Point.MIDDLE or verb in WRITING]


@pytest.mark.parametrize(("verb", "point"), PLACES)
def test_a_fault_strikes_its_verb_at_its_point_once(cloud: Cloud, verb: Verb, point: Point) -> None:
    vm = cloud.define()
    cloud.inject(Raise(verb=verb, when=point, code=BUSY))
    for name, call in verbs(cloud.driver, vm, make_image(vm), AT_H1, SHARED).items():
        failure = failure_of(call)
        assert (failure is not None) == (name == verb), name
        if failure is not None:
            assert failure.code is BUSY
            assert cloud.audit()[-1].error == BUSY
            assert not any(left.endswith(".part") for left in cloud.names())
            assert failure_of(call) is None  # it is used up, and the verb carries on from where it was
    assert list((cloud.folder / "faults").iterdir()) == []


def test_a_hanging_hypervisor_is_given_up_after_the_time_limit(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    vm = cloud.define()
    driver = cloud.make_driver(call_timeout=0.05)
    cloud.inject(Hang(verb=Verb.ATTACH, seconds=60))
    driver.upload(vm, make_image(vm), AT_H1)
    failure = failure_of(lambda: driver.attach(vm, make_image(vm).name, AT_H1))
    assert failure is not None
    assert failure.code is TransientCode.TASK_TIMEOUT
    assert waited == [0.05]
    cloud.inject(Hang(verb=Verb.OBSERVE, seconds=2.0))
    cloud.driver.observe(vm)  # a slow one is waited for
    assert waited == [0.05, 2.0]


def test_a_worker_killed_halfway_leaves_half_a_file_under_another_name_which_the_next_look_clears(cloud: Cloud) -> None:
    """What becomes of a kill at every other point: tests/e2e/test_killed.py."""
    vm = cloud.define(PowerState.RUNNING)
    cloud.inject(Kill(verb=Verb.UPLOAD, when=Point.MIDDLE))
    with processes(1) as pool, pytest.raises(BrokenProcessPool):
        pool.submit(work, cloud.folder, vm, ("observe", "upload")).result()
    assert cloud.names() == [f"{make_image(vm).name}.part"]
    assert cloud.world.files()[0].stat().st_size == len(make_image(vm).content) // 2
    assert cloud.driver.observe(vm).images == ()
    assert cloud.names() == []
    for call in verbs(cloud.driver, vm, make_image(vm), AT_H1, SHARED).values():
        assert failure_of(call) is None
