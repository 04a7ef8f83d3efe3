"""`kill -9` of the process that works, at every step: the event is taken up again and ends as if nothing had been.

And a crash: what the worker had in its memory, passwords among it, is not written to a file.
"""

import os
import signal
from pathlib import Path

from configdrive.contract.outcome import Status
from rigs.process import wait_until
from rigs.simulated.faults import Kill, Point
from tasks.mailbox import OperatorAction
from tests.e2e.site import Site, new_vm, uuid_of
from workers.hypervisors.simulated.inventory import Verb

BEFORE, MIDDLE, AFTER = Point.BEFORE, Point.MIDDLE, Point.AFTER

# A start of a VM that has an older drive takes every step there is; the last "after" is before DONE.
STEPS_OF_START = (
    (Verb.OBSERVE, BEFORE),
    (Verb.OBSERVE, AFTER),
    (Verb.UPLOAD, BEFORE),
    (Verb.UPLOAD, MIDDLE),
    (Verb.UPLOAD, AFTER),
    (Verb.ATTACH, BEFORE),
    (Verb.ATTACH, AFTER),
    (Verb.DELETE, BEFORE),
    (Verb.DELETE, AFTER),
)
STEPS_OF_STOP = ((Verb.DETACH, BEFORE), (Verb.DETACH, AFTER), (Verb.DELETE, BEFORE), (Verb.DELETE, AFTER))
CASES = [("start", step) for step in STEPS_OF_START]
CASES += [(last, step) for last in ("stop", "destroy") for step in STEPS_OF_STOP]


def test_at_each_step_another_child_does_the_event_and_no_worker_ends(site: Site) -> None:
    mains = [worker.pid for worker in site.workers]
    vms = {new_vm(): case for case in CASES}
    site.outcomes(site.publish(*[vm.event("deploy", guest={"password": "swordfish"}, start=True) for vm in vms]))
    site.inject(*[Kill(verb=verb, when=when, vm=vm.uuid) for vm, (_, (verb, when)) in vms.items()])
    events = site.publish(*[vm.event(last) for vm, (last, _) in vms.items()])
    found = site.outcomes(events, timeout=60)
    for (vm, case), event in zip(vms.items(), events, strict=True):
        (outcome,) = found[event]
        assert outcome.status is Status.APPLIED, case
        assert outcome.attempts in {2, 3}, case  # 3 where the machine was so busy that a lease ran out
        site.require(vm, 2 if case[0] == "start" else None)
    assert site.require_no_overlap(vms) > 5 * len(vms)
    site.outcomes(site.publish(*[vm.event("start") for vm in vms]))
    for vm, (last, _) in vms.items():
        site.require(vm, None if last == "destroy" else 3)
    assert [worker.pid for worker in site.workers if worker.running] == mains


def test_event_that_kills_whoever_takes_it_is_parked_and_an_operator_decides(site: Site) -> None:
    vm, other = new_vm(), new_vm()
    site.inject(Kill(verb=Verb.UPLOAD, when=MIDDLE, vm=vm.uuid, times=3))
    poison, behind = vm.event("start"), vm.event("update", guest={"user_data": {"text": "x"}})
    ids = site.publish(poison, behind)
    assert site.outcome(other.event("start")).status is Status.APPLIED
    parked = site.ended(ids[0])
    assert (parked.status, parked.code, parked.attempts) == (Status.PARKED, "unclassified", 4)
    assert parked.detail == "workers died over this event 3 times"
    assert site.mailbox.outcome_of(ids[1]) is None
    assert uuid_of(vm) in {uuid for uuid, _ in site.mailbox.parked(100)}
    assert site.cloud.medium(vm.uuid) is None

    assert site.mailbox.act(uuid_of(vm), ids[0], OperatorAction.RETRY, None) is None
    found = site.outcomes(ids)
    assert [outcome.status for outcome in found[ids[0]]] == [Status.PARKED, Status.APPLIED]
    assert found[ids[1]][0].status is Status.APPLIED
    site.require(vm, 1)


def limits(pid: int) -> str:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return " ".join(next(line for line in lines if line.startswith("Max core file size")).split()[4:6])


def test_crashed_child_leaves_no_core_file(site: Site) -> None:
    """The site was started by a process that lets those that it starts write core files."""
    worker = site.workers[0]
    assert site.outcome(new_vm().event("start", guest={"password": "swordfish"})).status is Status.APPLIED
    children = worker.children()
    assert {limits(pid) for pid in (worker.pid, *children)} == {"0 0"}
    before = set(Path.cwd().iterdir())
    os.kill(children[0], signal.SIGSEGV)
    wait_until(lambda: children[0] not in worker.children(), "the child to end", timeout=10)
    assert site.outcome(new_vm().event("start")).status is Status.APPLIED
    assert [path for path in set(Path.cwd().iterdir()) - before if path.name.startswith("core")] == []
