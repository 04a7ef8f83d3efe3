"""Messages that no publisher sends: the worker goes on, they are noted, and no VM is held up."""

from __future__ import annotations

import base64
import copy
import json
import pickle
from typing import TYPE_CHECKING, Any

from configdrive.contract.event_key import event_key
from configdrive.contract.outcome import Status
from rigs.fleet import wakeup_text
from rigs.process import wait_until
from rigs.simulated.faults import Hang
from tests.e2e.site import Site, new_vm
from workers.hypervisors.simulated.inventory import Verb

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "swordfish-in-a-forged-message"


def body(*parts: object) -> str:
    return json.dumps(parts)


def changed(good: dict[str, Any], *path: str, value: object) -> str:
    """Return a real message with one thing changed."""
    forged = copy.deepcopy(good)
    place: Any = forged
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return json.dumps(forged)


def unreadable() -> Iterator[str | bytes]:
    """Give what is no JSON, or no message by its shape."""
    yield from ("garbage", "", "[]", "5", "null", "{}", '"x"', b"\xff\xfe", b"\x80\x04." + SECRET.encode(), "[" * 5000)


def wrong_envelopes(good: dict[str, Any]) -> Iterator[str]:
    """Give real messages with one field of the envelope missing, or not as it should be."""
    values: list[object] = [None, 5, [], {}, "x", [SECRET]]
    for name, real in good.items():
        yield from (changed(good, name, value=value) for value in values if value != real)
        yield json.dumps({key: value for key, value in good.items() if key != name})
    headers: list[object] = [7.5, [], {"x": SECRET}, "2030-01-01 00:00:00", "os system", [0.001, 0.001]]
    for name in ("task", "id", "eta", "expires", "timelimit", "retries"):
        yield from (changed(good, "headers", name, value=value) for value in headers)
    properties: list[object] = [None, 7, [], {}]
    for name in ("delivery_tag", "delivery_info"):
        yield from (changed(good, "properties", name, value=value) for value in properties)
    yield changed(good, "properties", "body_encoding", value="base64")
    yield changed(good, "properties", "delivery_info", "routing_key", value="configdrive.other")


def wrong_bodies(good: dict[str, Any]) -> Iterator[str]:
    """Give real envelopes around something that is no wake-up."""
    pickled = base64.b64encode(pickle.dumps({"args": [SECRET]})).decode()
    forged = json.loads(changed(good, "body", value=pickled))
    yield json.dumps({**forged, "content-type": "application/x-python-serialize", "content-encoding": "binary"})
    forged["body"] = base64.b64encode(f"!!python/object/apply:os.system ['echo {SECRET}']".encode()).decode()
    yield json.dumps({**forged, "content-type": "application/x-yaml"})
    yield changed(good, "body", value=" " * 20_000_000)  # more than any event's is
    uuid = new_vm().uuid
    for bad in (
        "no json",
        base64.b64encode(body(["start", uuid, 1, 1], {}, {}).encode()).decode(),
        body(),
        body([], {}, {}),
        body(["start", uuid], {}, {}),
        body(["start", uuid, 1], {}, {}),
        body(["start", uuid, 1, "1"], {}, {}),
        body(["start", uuid, 1, -1], {}, {}),
        body(["start", "../../etc/passwd", 1, 1], {}, {}),
        body([SECRET, uuid, 1, SECRET], {}, {}),
        body(["start", uuid, 1, 1], {"password": SECRET}, {}),
        body(["start", uuid, 1, 1], {}, 5),
        body(["start", uuid, 1, 1], {}, {"chain": [{"task": "os.system", "args": [SECRET]}]}),
        body("start", {}, {}),
        body({"start": 1, uuid: 1, SECRET: 1}, {}, {}),
        body(["start", uuid, 1, 1], [], {}),
        body(["start", uuid, 1, 1], {}, {}, {}),
    ):
        yield changed(good, "body", value=bad)


def harmless(good: dict[str, Any]) -> Iterator[str]:
    """Give what cannot be told from a publisher's: wake-ups for nothing, with headers that only Celery reads."""
    uuid = new_vm().uuid
    for name, value in (("root_id", 5), ("parent_id", []), ("group", {}), ("origin", 7), ("shadow", {}), ("stamps", 7)):
        forged = copy.deepcopy(good)
        forged["headers"] |= {"id": event_key("/strangers", name), name: value}
        forged["properties"]["delivery_tag"] = f"forged-{name}"
        forged["body"] = body(["start", uuid, 1, 1], {}, {})
        yield json.dumps(forged)


def a_good_message(site: Site) -> dict[str, Any]:
    """Return a wake-up as it is on the wire, for a VM that has no event."""
    with site.redis.client() as client:
        text = wakeup_text(client, site.publisher.posting(new_vm().event("start")).header)
    message: dict[str, Any] = json.loads(text)
    return message


def test_strangers_messages(site: Site) -> None:
    good = a_good_message(site)
    vms = [new_vm() for _ in range(5)]
    logs = [(worker, len(worker.log)) for worker in site.workers]
    processes = [(worker.pid, worker.children()) for worker in site.workers]
    with site.redis.client() as client:
        queue = f"{site.settings.key_prefix}configdrive.simulated"
        before = len(site.mailbox.dead_letters(100_000))
        bad = [*unreadable(), *wrong_envelopes(good), *wrong_bodies(good)]
        client.lpush(queue, *bad)
        client.lpush(queue, *harmless(good))
        for vm in vms:
            assert site.outcome(vm.event("start")).status is Status.APPLIED
        letters = wait_until(
            lambda: found if len(found := site.mailbox.dead_letters(100_000)) >= before + len(bad) else None,
            "the dead letters",
            timeout=20,
        )
        wait_until(lambda: not client.llen(queue), "the queue to be empty", timeout=10)
    new = letters[: len(letters) - before]
    assert len(new) == len(bad)
    assert {letter.origin for letter in new} == {"broker"}
    assert [(worker.pid, worker.children()) for worker in site.workers] == processes
    for reported in (repr(letters), *(worker.log[begin:] for worker, begin in logs)):
        assert SECRET not in reported
        assert "Traceback" not in reported


def test_doubled_wake_ups_do_nothing_twice(site: Site) -> None:
    vm = new_vm()
    site.inject(Hang(verb=Verb.OBSERVE, vm=vm.uuid, seconds=0.4))
    posting = site.publisher.posting(vm.event("deploy"))
    assert site.mailbox.put(posting).accepted
    site.wake_again(posting.header, 20)
    outcome = site.ended(posting.header.key)
    assert (outcome.status, outcome.attempts) == (Status.APPLIED, 1)
    site.wake_again(posting.header, 20)
    assert site.outcome(vm.event("start")).status is Status.APPLIED
    uploads = [entry for entry in site.cloud.audit() if entry.vm == vm.uuid and entry.verb == "upload"]
    assert [entry.mark for entry in uploads] == ["begin", "change", "end"] * 2
    site.require(vm, 2)
