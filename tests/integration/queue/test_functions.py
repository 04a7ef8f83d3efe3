"""PUT as a function of Redis: the same as a publisher's PUT, with the answer at once."""

import ast
import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from rigs.cloud import VmScript, key_of
from tasks.mailbox import Claim
from tests.integration.queue.intake_rig import SEALED, IntakeRig, library, vm_of
from tests.mailboxes import QUEUE, Store, finish
from workers.store.scripts import MOST_BYTES, FunctionLibrary

TIME = "2026-03-10T12:33:00Z"


class Caller:
    """A client that calls the function of one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.library = library(store)

    def call(self, event: dict[str, Any] | bytes | str) -> list[str]:
        raw = json.dumps(event) if isinstance(event, dict) else event
        return [part.decode() for part in self.store.client.fcall(self.library.put, 0, raw)]

    def refused(self, event: dict[str, Any] | bytes | str) -> str:
        with pytest.raises(redis.ResponseError) as caught:
            self.call(event)
        return str(caught.value)


@pytest.fixture
def caller(store: Store) -> Iterator[Caller]:
    caller = Caller(store)
    store.client.function_load(caller.library.code)
    yield caller
    store.client.function_delete(caller.library.name)


def start(vm: VmScript, **data: Any) -> dict[str, Any]:  # noqa: ANN401 - the fields of an event's data
    return {**vm.event("start", **data), "time": TIME}


def test_an_event_is_stored_as_a_publisher_stores_it(store: Store, caller: Caller) -> None:
    """Every field of the header, to the last digit of a large number."""
    rig, called, pushed = IntakeRig(store), VmScript(), VmScript()
    made = []
    for vm in (called, pushed):
        event = start(vm, sealed=SEALED, zone="zone-1", sequence=2**53 - 1)
        event["data"]["vm"]["uuid"] = vm.uuid.upper()
        event["data"]["hypervisor"] = "Simulated"
        event["traceparent"] = f"00-{'a' * 32}-{'b' * 16}-01"
        made.append(event)
    assert caller.call(made[0]) == ["accepted"]
    rig.push(made[1])
    rig.drain()
    first, second = (store.client.lindex(store.key("mail", vm.uuid), 0) for vm in (called, pushed))
    assert isinstance(first, bytes)
    assert isinstance(second, bytes)
    as_called, as_pushed = json.loads(first), json.loads(second)
    assert abs(as_called.pop("at") - as_pushed.pop("at")) < 60_000
    own = {"id": made[0]["id"], "key": key_of(made[0]), "vm": called.uuid, "name": called.name}
    assert as_called == {**as_pushed, **own}
    assert store.mailbox.pending() == {f"{QUEUE}.zone-1": 2}
    assert {message.wakeup.vm_uuid for message in store.messages(f"{QUEUE}.zone-1")} == {called.uuid, pushed.uuid}


@pytest.mark.parametrize("name", ["web-1", "Bob's \\o/", "');--"])
def test_a_wake_up_shows_whose_it_is_whatever_the_vm_is_called(store: Store, caller: Caller, name: str) -> None:
    vm = VmScript()
    event = start(vm)
    event["data"]["vm"]["instance_name"] = name
    caller.call(event)
    message: Any = store.client.lindex(store.key("configdrive.simulated"), 0)
    assert ast.literal_eval(json.loads(message)["headers"]["argsrepr"]) == ("start", vm.uuid, 1, name)


def test_a_known_id_is_answered_with_what_has_come_of_the_first_one(store: Store, caller: Caller) -> None:
    event = start(VmScript())
    assert caller.call(event) == ["accepted"]
    assert caller.call(event) == ["duplicate", "waiting"]
    claim = store.mailbox.claim(store.messages()[0].wakeup)
    assert isinstance(claim, Claim)
    assert caller.call(event) == ["duplicate", "waiting"]
    store.mailbox.done(claim, finish(claim))
    assert caller.call(event) == ["duplicate", "published"]
    assert store.mail(vm_of(event)) == []


@pytest.mark.parametrize("source", ["a", 'https://cloud.example/ö?a="b"', *("世" * size for size in (6, 7, 85, 255))])
def test_the_key_is_that_of_every_other_way(store: Store, caller: Caller, source: str) -> None:
    """SHA-256 in Lua, over texts of one block and of several, and around the end of a block."""
    for size in (1, 32, 39, 40, 41, 128):
        event = {**start(VmScript()), "source": source, "id": "i" * size}
        assert caller.call(event) == ["accepted"]
        assert store.mail(vm_of(event)) == [key_of(event)]


def test_another_event_under_a_known_source_and_id_is_refused_by_name(store: Store, caller: Caller) -> None:
    event, another = start(VmScript()), start(VmScript())
    assert caller.call(event) == ["accepted"]
    assert caller.call({**another, "id": event["id"], "source": "/others"}) == ["accepted"]
    answer = caller.refused({**another, "id": event["id"]})
    assert answer.startswith(f"ID_CONFLICT id: that of start #1 of VM {vm_of(event)}, of the same source (give each ")
    assert len(store.mail(vm_of(another))) == 1


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
        ("data.vm.instance_name", "two\nlines", "INVALID_EVENT data.vm.instance_name: "),
        ("source", "two\nlines", "INVALID_EVENT source: "),
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
        ("type", "configdrive.vm.stop.v1", "INVALID_EVENT data.sealed: is not a field of this type"),
    ],
)
def test_what_is_wrong_is_said_with_the_field_and_the_remedy(
    store: Store, caller: Caller, place: str, value: object, said: str
) -> None:
    event = start(VmScript(), sealed=SEALED)
    answer = caller.refused(changed(event, place, value))
    assert answer.startswith(said), answer
    assert answer.endswith(")")
    assert "swordfish" not in answer
    assert store.all_keys() == set()


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
def test_what_is_no_event_is_refused(store: Store, caller: Caller, raw: str, said: str) -> None:
    assert caller.refused(raw).startswith(said)
    assert store.all_keys() == set()


def test_it_takes_one_argument(store: Store, caller: Caller) -> None:
    with pytest.raises(redis.ResponseError, match="INVALID_EVENT event: give one argument"):
        store.client.fcall(caller.library.put, 0)


def test_null_stands_for_what_is_left_out(store: Store, caller: Caller) -> None:
    event = start(VmScript(), guest=None, sealed=None, zone=None, host="h1")
    event |= {"subject": None, "traceparent": None}
    assert caller.call(event) == ["accepted"]
    assert store.mail(vm_of(event)) == [key_of(event)]


def test_a_full_redis_stores_nothing(store: Store, caller: Caller) -> None:
    event = start(VmScript())
    store.client.config_set("maxmemory", 1)
    try:
        assert "maxmemory" in caller.refused(event)
    finally:
        store.client.config_set("maxmemory", 0)
    assert caller.call(event) == ["accepted"]


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
    mine = FunctionLibrary(prefix, ("kvm",))
    assert mine.put == name
    assert client.function_load(mine.code) in {mine.name, mine.name.encode()}
    client.function_delete(mine.name)
