"""Forged events, put past the publisher into the mailboxes of a real fleet: refused, recorded, no one else held up."""

import base64
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from configdrive.client.postings import Posting
from configdrive.client.public_key import PublicSealer
from configdrive.contract.outcome import Status
from configdrive.errors import PermanentCode
from configdrive.model import EventKey
from rigs.cloud import VmScript, key_of
from tests.e2e.site import Site, new_vm, uuid_of
from workers.config.keys import Key

SECRET = "swordfish-in-a-forged-event"
GUEST = {"password": SECRET, "user_data": {"text": SECRET}}


def sealed_of(posting: Posting) -> str:
    return str(json.loads(posting.body)["data"]["sealed"])


def with_sealed(vm: VmScript, sealed: str) -> dict[str, Any]:
    event = vm.event("deploy")
    event["data"]["sealed"] = sealed
    return event


def put_past_the_publisher(site: Site, event: dict[str, Any]) -> EventKey:
    """Put an event with its sealed box as it is: a publisher refuses what is for a key that is none of the fleet's."""
    sealed = event["data"].pop("sealed")
    posting = site.publisher.posting(event)
    body = json.loads(posting.body)
    body["data"]["sealed"] = sealed
    receipt = site.mailbox.put(replace(posting, body=json.dumps(body).encode()))
    assert receipt.accepted
    return receipt.key


def of_an_unknown_key(_site: Site, vm: VmScript) -> dict[str, Any]:
    event = vm.event("deploy")
    sealer = PublicSealer(Key.generate().private.public_key)
    event["data"]["sealed"] = sealer.seal(json.dumps(GUEST).encode(), f"{vm.uuid}/{event['id']}")
    return event


def replayed(site: Site, vm: VmScript) -> dict[str, Any]:
    """What was sealed for an earlier event of the same VM, which was applied."""
    posting = site.publisher.posting(vm.event("deploy", guest=GUEST))
    receipt = site.mailbox.put(posting)
    assert site.ended(receipt.key).status is Status.APPLIED
    assert site.outcome(vm.event("stop")).status is Status.APPLIED
    return with_sealed(vm, sealed_of(posting))


def moved_from_another_vm(site: Site, vm: VmScript) -> dict[str, Any]:
    return with_sealed(vm, sealed_of(site.publisher.posting(new_vm().event("deploy", guest=GUEST))))


def damaged(site: Site, vm: VmScript) -> dict[str, Any]:
    event = vm.event("deploy", guest=GUEST)
    head, _, sealed = sealed_of(site.publisher.posting(event)).rpartition(".")
    content = bytearray(base64.urlsafe_b64decode(sealed))
    content[-1] ^= 1
    del event["data"]["guest"]
    event["data"]["sealed"] = f"{head}.{base64.urlsafe_b64encode(content).decode()}"
    return event


@pytest.mark.parametrize("forge", [of_an_unknown_key, replayed, moved_from_another_vm, damaged])
def test_a_sealed_box_that_is_not_for_this_event_is_not_opened(
    site: Site, forge: Callable[[Site, VmScript], dict[str, Any]]
) -> None:
    """It is parked, as the key may only be missing: an operator skips it, and a destroy goes through it."""
    vm, other = new_vm(), new_vm()
    event = forge(site, vm)
    logs = [(worker, len(worker.log)) for worker in site.workers]
    uploads = _uploads(site, vm)
    outcome = site.ended(put_past_the_publisher(site, event))
    assert (outcome.status, outcome.code, outcome.attempts) == (Status.PARKED, PermanentCode.UNSEALABLE, 1)
    assert uuid_of(vm) in {uuid for uuid, _ in site.mailbox.parked(10_000)}
    assert _uploads(site, vm) == uploads
    site.require(vm, None)
    assert site.outcome(other.event("deploy")).status is Status.APPLIED, "another VM waits not"

    (behind,) = site.publish(vm.event("start"))
    assert site.mailbox.outcome_of(behind) is None
    destroyed = site.outcome(vm.event("destroy"))
    assert (destroyed.status, destroyed.attempts) == (Status.APPLIED, 1)
    assert {outcome.code for outcome in (site.ended(key_of(event)), site.ended(behind))} == {"superseded"}
    _require_silence(logs)


FORGERIES: dict[str, Callable[[Posting], bytes]] = {
    "pickled": lambda _: pickle.dumps({"password": SECRET}),
    "YAML": lambda _: f"!!python/object/apply:os.system ['echo {SECRET}']\n".encode(),
    "of another type": lambda real: real.body.replace(b"configdrive.vm.deploy.v1", b"configdrive.vm.explode.v1"),
    "of another VM": lambda real: real.body.replace(real.header.vm_uuid.encode(), new_vm().uuid.encode()),
    "under another id": lambda real: real.body.replace(real.header.event_id.encode(), b"another-id"),
    "nested without end": lambda _: b'{"data":' * 100_000,
    "no text": lambda _: b"\xff\xfe" + SECRET.encode("utf-16"),
}


@pytest.mark.parametrize("forged", FORGERIES)
def test_what_is_no_event_goes_to_the_dead_letters_and_the_vm_s_next_event_goes_on(site: Site, forged: str) -> None:
    vm = new_vm()
    logs = [(worker, len(worker.log)) for worker in site.workers]
    real = site.publisher.posting(vm.event("deploy", guest=GUEST))
    receipt = site.mailbox.put(replace(real, body=FORGERIES[forged](real)))
    (behind,) = site.publish(vm.event("start"))
    outcome = site.ended(receipt.key)
    assert (outcome.status, outcome.code) == (Status.REJECTED, PermanentCode.INVALID_EVENT)
    assert site.ended(behind).status is Status.APPLIED
    site.require(vm, 2)
    assert [entry.mark for entry in _uploads(site, vm)] == ["begin", "change", "end"], "only the real event's"
    (letter,) = [letter for letter in site.mailbox.dead_letters(10_000) if letter.event_id == receipt.event_id]
    assert (letter.origin, letter.vm_uuid) == ("mailbox", vm.uuid)
    assert letter.reason.startswith("invalid_event: ")
    assert SECRET not in repr(letter)
    _require_silence(logs)


def _uploads(site: Site, vm: VmScript) -> list[Any]:
    return [entry for entry in site.cloud.audit() if entry.vm == vm.uuid and entry.verb == "upload"]


def _require_silence(logs: list[tuple[Any, int]]) -> None:
    """See that no worker's log quotes what was forged, or tells of anything unforeseen."""
    for worker, begin in logs:
        reported = worker.log[begin:]
        assert SECRET not in reported
        assert "Traceback" not in reported
        assert "unforeseen" not in reported
