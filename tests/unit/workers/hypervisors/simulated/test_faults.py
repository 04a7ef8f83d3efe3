"""Injected faults: where they strike, how often, and that a killed worker's successor carries on."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from configdrive.errors import PermanentCode, StaleCode, TransientCode
from configdrive.model import HostName, PowerState, StoredImage
from rigs.simulated.faults import Hang, Kill, Point, Raise, Touch
from tests.contract.rig import failure_of, verbs
from tests.support import error_of
from tests.unit.workers.hypervisors.simulated.cloud import AT_H1, SHARED, Cloud, make_image
from workers.hypervisors.simulated.inventory import Verb

if TYPE_CHECKING:
    from pathlib import Path

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
            assert not any(left.endswith(".part") for left in cloud.names())
            assert failure_of(call) is None  # it is used up, and the verb carries on from where it was
    assert list((cloud.folder / "faults").iterdir()) == []


@pytest.mark.parametrize("code", [*TransientCode, *PermanentCode, *StaleCode])
def test_every_code_can_be_raised(cloud: Cloud, code: TransientCode | PermanentCode | StaleCode) -> None:
    cloud.inject(Raise(verb=Verb.SURVEY, code=code))
    assert error_of(cloud.driver.survey, HostName("h1")).code is code


def test_a_fault_may_be_for_one_vm_or_one_host_only(cloud: Cloud) -> None:
    vm, other = cloud.define(), cloud.define()
    cloud.inject(Raise(verb=Verb.OBSERVE, vm=vm.uuid, code=BUSY))
    cloud.inject(Raise(verb=Verb.SURVEY, host="h2", code=BUSY))
    cloud.driver.observe(other)
    cloud.driver.survey(HostName("h1"))
    assert failure_of(lambda: cloud.driver.observe(vm)) is not None
    assert failure_of(lambda: cloud.driver.survey(HostName("h2"))) is not None


def test_a_file_written_by_hand_is_a_fault(cloud: Cloud) -> None:
    vm = cloud.define()
    path = cloud.folder / "faults" / "mine.json"
    path.write_text(json.dumps({"verb": "observe", "action": "raise", "code": "storage_full", "times": 2}))
    found = [failure_of(lambda: cloud.driver.observe(vm)) for _ in range(3)]
    assert [failure.code if failure else None for failure in found] == [TransientCode.STORAGE_FULL] * 2 + [None]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"verb": "reboot", "action": "kill"}', '{"verb": "observe", "action": "raise", "code": "x"}']
)
def test_a_file_that_is_no_fault_is_reported(cloud: Cloud, text: str) -> None:
    (cloud.folder / "faults" / "bad.json").write_text(text)
    failure = failure_of(lambda: cloud.driver.survey(HostName("h1")))
    assert failure is not None
    assert failure.code is PermanentCode.MISCONFIGURED
    assert "bad.json" in failure.detail


def test_zero_times_is_until_it_is_taken_away(cloud: Cloud) -> None:
    vm = cloud.define()
    cloud.inject(Raise(verb=Verb.OBSERVE, times=0, code=BUSY))
    assert all(failure_of(lambda: cloud.driver.observe(vm)) for _ in range(5))
    cloud.world.faults.clear()
    cloud.driver.observe(vm)


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


def test_several_faults_for_one_point_strike_in_their_order(cloud: Cloud, tmp_path: Path) -> None:
    vm = cloud.define()
    cloud.inject(Touch(verb=Verb.OBSERVE, path=tmp_path / "reached"))
    cloud.inject(Raise(verb=Verb.OBSERVE, code=BUSY))
    cloud.inject(Touch(verb=Verb.OBSERVE, path=tmp_path / "not reached"))
    assert failure_of(lambda: cloud.driver.observe(vm)) is not None
    assert (tmp_path / "reached").exists()
    assert not (tmp_path / "not reached").exists()


def test_a_fault_for_n_times_strikes_n_times_whichever_threads_race_for_it(cloud: Cloud) -> None:
    """While one thread writes down that it struck, the others find none to strike: what they leave is used up after."""

    def strikes(_: int) -> int:
        return sum(failure_of(lambda: cloud.driver.survey(HostName("h1"))) is not None for _ in range(100))

    with ThreadPoolExecutor(8) as pool:
        for times in (1, 50, 100):
            cloud.inject(Raise(verb=Verb.SURVEY, times=times, code=BUSY))
            raced = sum(pool.map(strikes, range(8)))
            assert raced + strikes(8) == times


def test_a_fault_for_n_times_strikes_n_times_whichever_processes_come(cloud: Cloud) -> None:
    vms = [cloud.define() for _ in range(3)]
    cloud.inject(Raise(verb=Verb.OBSERVE, times=20, code=BUSY))
    workers = [cloud.worker("observe", vm=vm, rounds=50) for vm in vms]
    printed = [worker.communicate(timeout=300) for worker in workers]
    assert [errors for _, errors in printed] == [""] * 3
    assert sum(out.count("vm_busy") for out, _ in printed) == 20


STEPS = ("observe", "upload", "copy", "attach", "detach", "delete")


@pytest.mark.parametrize(("verb", "point"), [at for at in PLACES if at[0] in {Verb.UPLOAD, Verb.ATTACH, Verb.DELETE}])
def test_a_worker_killed_anywhere_is_carried_on_from_by_the_next(cloud: Cloud, verb: Verb, point: Point) -> None:
    vm = cloud.define(PowerState.RUNNING)
    cloud.inject(Kill(verb=verb, when=point))
    victim = cloud.worker(*STEPS, vm=vm)
    victim.communicate(timeout=300)
    assert victim.returncode == -signal.SIGKILL
    if point is Point.MIDDLE:
        assert cloud.names() == [f"{make_image(vm).name}.part"]  # half of the bytes, under another name
        assert cloud.world.files()[0].stat().st_size == len(make_image(vm).content) // 2
        assert cloud.driver.observe(vm).images == ()
        assert cloud.names() == []
    for call in verbs(cloud.driver, vm, make_image(vm), AT_H1, SHARED).values():
        assert failure_of(call) is None
    cloud.driver.delete(vm, StoredImage(make_image(vm).name, SHARED))
    assert cloud.names() == []
    assert cloud.world.medium(vm.uuid) is None
