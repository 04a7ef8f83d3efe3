"""PUT as a function of Redis: the same as a publisher's PUT, with the answer at once."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import redis

from rigs.cloud import VmScript
from tasks.intake import Taken
from tests.integration.queue.box import QUEUE, Box, finish
from tests.integration.queue.doors import BOX, Door, ids, library, vm_of
from workers.store.scripts import MOST_BYTES, FunctionLibrary

if TYPE_CHECKING:
    from collections.abc import Iterator

TIME = "2026-03-10T12:33:00Z"


class Caller:
    """A client that calls the function of one store."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.library = library(box)

    def call(self, event: dict[str, Any] | bytes | str) -> list[str]:
        raw = json.dumps(event) if isinstance(event, dict) else event
        return [part.decode() for part in self.box.client.fcall(self.library.put, 0, raw)]

    def refused(self, event: dict[str, Any] | bytes | str) -> str:
        with pytest.raises(redis.ResponseError) as caught:
            self.call(event)
        return str(caught.value)


@pytest.fixture
def caller(box: Box) -> Iterator[Caller]:
    caller = Caller(box)
    box.client.function_load(caller.library.code)
    yield caller
    box.client.function_delete(caller.library.name)


def start(vm: VmScript, **data: Any) -> dict[str, Any]:  # noqa: ANN401 - the fields of an event's data
    return {**vm.event("start", **data), "time": TIME}


def test_an_event_is_stored_as_a_publisher_stores_it(box: Box, caller: Caller) -> None:
    """Every field of the header, to the last digit of a large number."""
    door, called, pushed = Door(box), VmScript(), VmScript()
    made = []
    for vm in (called, pushed):
        event = start(vm, sealed=BOX, zone="zone-1", sequence=2**53 - 1)
        event["data"]["vm"]["uuid"] = vm.uuid.upper()
        event["data"]["hypervisor"] = "Simulated"
        event["traceparent"] = f"00-{'a' * 32}-{'b' * 16}-01"
        made.append(event)
    assert caller.call(made[0]) == ["accepted"]
    door.push(made[1])
    door.drain()
    first, second = (box.client.lindex(box.key("mail", vm.uuid), 0) for vm in (called, pushed))
    assert isinstance(first, bytes)
    assert isinstance(second, bytes)
    as_pushed = first.replace(called.uuid.encode(), pushed.uuid.encode())
    as_pushed = as_pushed.replace(made[0]["id"].encode(), made[1]["id"].encode())
    when = re.compile(rb'"at":\d{13}')
    assert when.sub(b"", as_pushed) == when.sub(b"", second) != second
    assert box.mailbox.pending() == {f"{QUEUE}.zone-1": 2}
    assert {wake.header.vm_uuid for wake in door.woken} == {called.uuid, pushed.uuid}


def test_order_is_that_of_the_calls_and_the_ingester_wakes_each_vm_once(box: Box, caller: Caller) -> None:
    vms = [VmScript() for _ in range(3)]
    events = [start(vm) for _ in range(4) for vm in vms]
    assert {tuple(caller.call(event)) for event in events} == {("accepted",)}
    for vm in vms:
        assert box.mail(vm_of(start(vm))) == [event["id"] for event in events if vm.uuid in str(event)]
    taken = Door(box).intake.take()
    assert isinstance(taken, Taken)
    assert [wake.header.event_id for wake in taken.wakes] == ids(events[:3])


def test_a_known_id_is_answered_with_what_has_come_of_the_first_one(box: Box, caller: Caller) -> None:
    event = start(VmScript())
    assert caller.call(event) == ["accepted"]
    assert caller.call(event) == ["duplicate", "waiting"]
    (wake,) = Door(box).intake.take().wakes  # type: ignore[union-attr]
    claim = box.claim(wake.header)
    assert caller.call(event) == ["duplicate", "waiting"]
    box.mailbox.done(claim, finish(claim))
    assert caller.call(event) == ["duplicate", "told"]
    assert box.mail(vm_of(event)) == []


def changed(event: dict[str, Any], place: str, value: object) -> dict[str, Any]:
    whole = json.loads(json.dumps(event))
    *path, last = place.split(".")
    part = whole
    for name in path:
        part = part[name]
    if value is None:
        del part[last]
    else:
        part[last] = value
    return dict(whole)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("id", None, "INVALID_EVENT id: "),
        ("id", "a b", "INVALID_EVENT id: "),
        ("id", "x" * 129, "INVALID_EVENT id: "),
        ("id", 'x","type":"destroy', "INVALID_EVENT id: "),
        ("type", "configdrive.vm.explode.v1", "INVALID_EVENT type: "),
        ("type", "configdrive.vm.start.v2", "INVALID_EVENT type: "),
        ("source", "", "INVALID_EVENT source: "),
        ("time", None, "INVALID_EVENT time: "),
        ("time", 5, "INVALID_EVENT time: "),
        ("subject", "0a9e1c52-7f3d-4b7e-8a64-2c5d9e8f7b31", "INVALID_EVENT subject: "),
        ("traceparent", "00-x", "INVALID_EVENT traceparent: "),
        ("data", [], "INVALID_EVENT data.vm: "),
        ("data", "x", "INVALID_EVENT data: must be an object"),
        ("data.vm", None, "INVALID_EVENT data.vm: "),
        ("data.vm.uuid", "6f1d2c3b5a41-4c58-9d0e-3f7c1b2a9d10-", "INVALID_EVENT data.vm.uuid: "),
        ("data.vm.uuid", "6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d1", "INVALID_EVENT data.vm.uuid: "),
        ("data.vm.instance_name", "../x", "INVALID_EVENT data.vm.instance_name: "),
        (
            "data.hypervisor",
            "hyperv",
            "UNKNOWN_HYPERVISOR data.hypervisor: no driver is called 'hyperv' (known are: kvm,",
        ),
        ("data.hypervisor", "x\ny", "INVALID_EVENT data.hypervisor: "),
        ("data.sequence", None, "INVALID_EVENT data.sequence: "),
        ("data.sequence", -1, "INVALID_EVENT data.sequence: "),
        ("data.sequence", 1.5, "INVALID_EVENT data.sequence: "),
        ("data.sequence", 2**53, "INVALID_EVENT data.sequence: "),
        ("data.sequence", "7", "INVALID_EVENT data.sequence: "),
        ("data.guest", {"password": "swordfish"}, "INVALID_EVENT data.guest: stands in the clear (seal it into "),
        ("data.sealed", "swordfish", "INVALID_EVENT data.sealed: has not the form"),
    ],
)
def test_what_is_wrong_is_said_with_the_field_and_the_remedy(
    box: Box, caller: Caller, place: str, value: object, said: str
) -> None:
    event = start(VmScript())
    told = caller.refused(changed(event, place, value))
    assert told.startswith(said), told
    assert told.endswith(")")
    assert "swordfish" not in told
    assert box.all_keys() == set()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("", "INVALID_EVENT event: is not JSON"),
        ("[1]", "INVALID_EVENT id: "),
        ("7", "INVALID_EVENT event: must be an object"),
        ("[" * 5000, "INVALID_EVENT event: is not JSON"),
        (
            " " * (MOST_BYTES + 1),
            "CONTENT_TOO_LARGE event: has 1048577 bytes, the limit of this way is 1048576 (put it on",
        ),
    ],
)
def test_what_is_no_event_is_refused(box: Box, caller: Caller, raw: str, said: str) -> None:
    assert caller.refused(raw).startswith(said)
    assert box.all_keys() == set()


def test_it_takes_one_argument(box: Box, caller: Caller) -> None:
    with pytest.raises(redis.ResponseError, match="INVALID_EVENT event: give one argument"):
        box.client.fcall(caller.library.put, 0)


def test_stop_and_destroy_carry_no_box(caller: Caller) -> None:
    event = {**VmScript().event("stop", sealed=BOX), "time": TIME}
    assert caller.refused(event).startswith("INVALID_EVENT data.sealed: ")


def test_null_stands_for_what_is_left_out(box: Box, caller: Caller) -> None:
    event = start(VmScript(), guest=None, sealed=None, zone=None, host="h1")
    event |= {"subject": None, "traceparent": None}
    assert caller.call(event) == ["accepted"]
    assert box.mail(vm_of(event)) == [event["id"]]


def test_a_full_redis_stores_nothing(box: Box, caller: Caller) -> None:
    event = start(VmScript())
    box.client.config_set("maxmemory", 1)
    try:
        assert "maxmemory" in caller.refused(event)
    finally:
        box.client.config_set("maxmemory", 0)
    assert caller.call(event) == ["accepted"]


def test_wake_ups_that_nobody_takes_do_not_heap_up_and_a_strangers_are_passed_over(box: Box, caller: Caller) -> None:
    key = box.key("intake:wakes")
    box.client.rpush(key, *["nonsense"] * 10_000)
    assert caller.call(start(VmScript())) == ["accepted"]
    assert box.client.llen(key) == 10_000
    taken = Door(box).intake.take()
    assert isinstance(taken, Taken)
    assert taken.wakes == ()
    assert len(box.mailbox.pending()) == 1  # the sweep sends what was not noted


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        ("configdrive:", "configdrive_put_v1"),
        ("two:", "two_put_v1"),
        ("a-b:", "a_b_038c4a5e_put_v1"),
        ("a:b:", "a_b_1ae5ffab_put_v1"),
        ("", "fleet_00000000_put_v1"),
    ],
)
def test_each_fleet_on_a_redis_has_functions_of_its_own(client: redis.Redis, prefix: str, name: str) -> None:
    mine = FunctionLibrary(prefix, 1000, ("kvm",))
    assert mine.put == name
    assert client.function_load(mine.code) in {mine.name, mine.name.encode()}
    client.function_delete(mine.name)
