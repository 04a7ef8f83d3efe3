"""Strict order per VM, one worker at a time per VM, and no VM waits for another."""

import time
from pathlib import Path

import pytest

from configdrive.contract.outcome import Status
from configdrive.errors import PermanentCode, PermanentError
from rigs.simulated.faults import Hang, Point
from tests.e2e.site import Site, new_vm
from workers.hypervisors.simulated.inventory import Verb


def test_vm_that_hangs_holds_up_nobody_and_its_events_stay_in_order(site: Site, tmp_path: Path) -> None:
    slow, others, go_on = new_vm(), [new_vm() for _ in range(6)], tmp_path / "go on"
    site.inject(Hang(verb=Verb.OBSERVE, vm=slow.uuid, until=go_on))
    kinds = ["deploy", "start", "password_reset", "stop", "start"]
    extra: dict[str, dict[str, object]] = {"password_reset": {"guest": {"password": "new"}}}
    waiting = site.publish(slow.event(kinds[0]))
    site.wait_claimed(slow)
    waiting += site.publish(*[slow.event(kind, **extra.get(kind, {})) for kind in kinds[1:]])
    quick = [site.publish(*[vm.event(kind, **extra.get(kind, {})) for kind in kinds]) for vm in others]

    for ids in quick:
        found = site.outcomes(ids)
        assert [outcomes[-1].final for outcomes in found.values()] == [True] * len(kinds)
    assert site.mailbox.outcome_of(waiting[0]) is None  # the others are done, and it has not begun to end
    time.sleep(site.settings.lease_seconds)  # which is renewed
    go_on.touch()
    found = site.outcomes(waiting)
    assert [len(outcomes) for outcomes in found.values()] == [1] * len(kinds)
    ends = [outcomes[0].at for outcomes in found.values()]
    assert ends == sorted(ends)
    for vm in (slow, *others):
        site.require(vm, 5)
    # When the deploy began nothing waited behind it; behind the next two a stop does: nothing is built for nobody.
    statuses = [outcomes[0].status for outcomes in found.values()]
    assert statuses == [Status.APPLIED, Status.DROPPED, Status.DROPPED, Status.APPLIED, Status.APPLIED]
    assert [found[waiting[at]][0].code for at in (1, 2)] == ["superseded"] * 2
    assert site.require_no_overlap([slow, *others]) > 20


def test_stale_doubled_and_late_events_are_reported_and_do_nothing(site: Site, tmp_path: Path) -> None:
    vm, go_on = new_vm(), tmp_path / "go on"
    deploy, start = vm.event("deploy"), vm.event("start")
    assert site.outcome(deploy).status is Status.APPLIED
    first = site.outcome(start)
    assert (first.status, first.facts["attach"]) == (Status.APPLIED, "inserted")

    receipt = site.publisher.publish(start)
    assert (receipt.accepted, receipt.first) == (False, first)
    stale = site.outcome(vm.event("stop", sequence=1))
    assert (stale.status, stale.code) == (Status.DROPPED, "stale_sequence")
    site.require(vm, 2)

    site.inject(Hang(verb=Verb.OBSERVE, when=Point.BEFORE, vm=vm.uuid, until=go_on))
    held = vm.event("update", guest={"user_data": {"text": "x"}}, apply="now")
    ids = site.publish(held)
    site.wait_claimed(vm)
    ids += site.publish(vm.event("start"), vm.event("stop"), vm.event("destroy"), vm.event("start"))
    assert site.publisher.publish(held).accepted is False
    go_on.touch()
    codes = [outcomes[-1].code for outcomes in site.outcomes(ids).values()]
    assert codes == [None, "superseded", "superseded", None, "vm_gone"]
    site.require(vm, None)


def test_two_publishers_with_one_id_each_have_their_event_done_and_get_their_own_outcome(site: Site) -> None:
    one, other = new_vm(), new_vm()
    site.outcome(other.event("start"))
    started, destroyed = one.event("start"), {**other.event("destroy"), "source": "/others"}
    destroyed["id"] = started["id"]
    receipts = [site.publisher.publish(event) for event in (started, destroyed)]
    assert [receipt.accepted for receipt in receipts] == [True, True]
    for event, receipt in zip((started, destroyed), receipts, strict=True):
        outcome = site.publisher.wait(receipt, 600)
        assert outcome is not None
        assert (outcome.vm_uuid, outcome.source) == (event["data"]["vm"]["uuid"], event["source"])
        assert outcome.status is Status.APPLIED
        assert site.publisher.publish(event).first == outcome == site.publisher.wait(event, 1)
    site.require(one, 1)
    site.require(other, None)
    with pytest.raises(PermanentError) as caught:
        site.publisher.publish({**other.event("destroy"), "id": started["id"]})
    assert caught.value.code is PermanentCode.ID_CONFLICT
