"""Messages that no publisher sends: the worker goes on, they are noted, and no VM is held up."""

import base64
import copy
import json
import pickle
from collections.abc import Iterator
from random import Random
from typing import Any

from configdrive.contract.event_key import event_key
from configdrive.contract.outcome import Status
from rigs.fleet import wakeup_text
from rigs.process import wait_until
from rigs.simulated.faults import Hang
from tests.e2e.site import Site, new_vm
from tests.fuzz.mutations import MARKER, given
from workers.hypervisors.simulated.inventory import Verb
from workers.queueing.transport import problem_of

QUEUE = "configdrive.simulated"


def strange(good: dict[str, Any]) -> Iterator[bytes]:
    """Give what the fuzzer makes of a real message, of its body, or instead of it, and a few that are worse."""
    body = json.loads(good["body"])
    for number in range(300):
        random = Random(number)  # noqa: S311  # the same each time is the point
        inner = given(random, body).decode("utf-8", "replace") if number % 2 else good["body"]
        text = given(random, good | {"body": inner})
        if is_strange(text):
            yield text
    pickled = base64.b64encode(pickle.dumps({"args": [MARKER]})).decode()
    yaml = base64.b64encode(f"!!python/object/apply:os.system ['echo {MARKER}']".encode()).decode()
    binary = {"content-type": "application/x-python-serialize", "content-encoding": "binary"}
    arguments, _, _ = body
    for one in (
        {"body": pickled, **binary},
        {"body": yaml, "content-type": "application/x-yaml"},
        {"body": " " * 20_000_000},  # more than any event's is
        {"body": json.dumps([arguments, {}, {"chain": [{"task": "os.system", "args": [MARKER]}]}])},
        {"body": json.dumps([arguments, {"password": MARKER}, {}])},
        {"body": json.dumps([["start", "../../etc/passwd", 1, 1], {}, {}])},
        {"headers": good["headers"] | {"eta": "2030-01-01 00:00:00"}},
        {"headers": good["headers"] | {"task": "os system"}},
        {"headers": good["headers"] | {"timelimit": [0.001, 0.001]}},
    ):
        yield json.dumps(good | one).encode()


def is_strange(text: bytes) -> bool:
    """Say whether it is no message, or not one that is let in (`tests/unit/workers/queueing/test_transport.py`)."""
    try:
        return problem_of(json.loads(text.decode("utf-8", "replace")), QUEUE) is not None
    except (ValueError, RecursionError):
        return True


def harmless(good: dict[str, Any]) -> Iterator[str]:
    """Give what cannot be told from a publisher's: wake-ups for nothing, with headers that only Celery reads."""
    uuid = new_vm().uuid
    for name, value in (("root_id", 5), ("parent_id", []), ("group", {}), ("origin", 7), ("shadow", {}), ("stamps", 7)):
        forged = copy.deepcopy(good)
        forged["headers"] |= {"id": event_key("/strangers", name), name: value}
        forged["properties"]["delivery_tag"] = f"forged-{name}"
        forged["body"] = json.dumps([["start", uuid, 1, 1], {}, {}])
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
        queue = f"{site.settings.key_prefix}{QUEUE}"
        before = len(site.mailbox.dead_letters(100_000))
        bad = list(strange(good))
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
    assert len(new) == len(bad) > 200
    assert {letter.origin for letter in new} == {"broker"}
    assert [(worker.pid, worker.children()) for worker in site.workers] == processes
    for reported in (repr(letters), *(worker.log[begin:] for worker, begin in logs)):
        assert MARKER not in reported
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
