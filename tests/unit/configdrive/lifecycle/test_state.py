"""The state at rest: it comes back as it was, and shows nothing of what stands on a drive."""

import json

import pytest
from hypothesis import given
from pydantic import SecretBytes, SecretStr

from configdrive.drive_data import Metadata, VmData
from configdrive.errors import PermanentCode, PermanentError
from configdrive.lifecycle import state
from configdrive.lifecycle.state import Passwords, Phase, VmState
from configdrive.model import HostName, HypervisorName, InstanceName, Vm, VmUuid
from tests.support import error_of
from tests.unit import strategies
from tests.unit.documents import OTHER_UUID, UUID
from tests.unit.fakes.small import FakeSealer

VM = VmUuid(UUID)
SECRET = "swordfish"
KNOWN = VmState(
    vm=Vm(VM, InstanceName("i-2-14-VM"), HypervisorName("kvm"), HostName("host-1")),
    sequence=7,
    phase=Phase.ATTACHED,
    data=VmData(metadata=Metadata(vm_id=SECRET, extra={SECRET: SECRET}), user_data=SecretBytes(SECRET.encode())),
    passwords=Passwords(pending=SecretStr(SECRET), carried=SecretStr(f"{SECRET}-2")),
)


@given(strategies.states)
def test_any_state_comes_back_as_it_was(known: VmState) -> None:
    assert state.load(state.dump(known, FakeSealer(), VM), FakeSealer(), VM) == known


def test_nothing_remembered_is_an_empty_state() -> None:
    assert state.load(None, FakeSealer(), VM) == VmState()
    assert json.loads(state.dump(VmState(), FakeSealer(), VM)) == {"v": 2}


def test_nothing_of_a_drive_stands_in_the_clear() -> None:
    text = state.dump(KNOWN, FakeSealer(), VM)
    assert SECRET not in text
    record = state.peek(text)
    assert SECRET not in repr(record)
    assert (record.phase, record.sequence, record.vm) == (Phase.ATTACHED, 7, KNOWN.vm)
    assert all((record.sealed.data, record.sealed.pending, record.sealed.carried))


def test_a_state_of_another_version_is_refused_with_the_way_out() -> None:
    caught = error_of(state.peek, '{"v": 1, "sequence": 3}')
    assert (caught.code, "configdrive adopt" in caught.remedy) == (PermanentCode.MISCONFIGURED, True)


def test_a_field_that_is_not_known_yet_is_passed_over() -> None:
    assert state.peek('{"v": 2, "sequence": 3, "from the future": [1]}').sequence == 3


def test_a_state_moved_to_another_vm_cannot_be_opened() -> None:
    assert (
        error_of(state.load, state.dump(KNOWN, FakeSealer(), VM), FakeSealer(), VmUuid(OTHER_UUID)).code
        is PermanentCode.UNSEALABLE
    )


def test_what_is_sealed_and_moved_within_the_state_cannot_be_opened() -> None:
    record = json.loads(state.dump(KNOWN, FakeSealer(), VM))
    record["sealed"]["data"] = record["sealed"]["pending"]
    assert error_of(state.load, json.dumps(record), FakeSealer(), VM).code is PermanentCode.UNSEALABLE


def test_the_clear_part_can_be_had_with_lost_keys() -> None:
    sealer = FakeSealer()
    text = state.dump(KNOWN, sealer, VM)
    sealer.lost = True
    with pytest.raises(PermanentError):
        state.load(text, sealer, VM)
    closed = state.load_closed(text)
    assert (closed.vm, closed.phase, closed.sequence) == (KNOWN.vm, KNOWN.phase, KNOWN.sequence)
    assert (closed.data, closed.passwords) == (VmData(), Passwords())
    assert state.peek(state.dump(closed, sealer, VM)) == state.peek(text), "what nobody has opened stays"


@pytest.mark.parametrize(
    "text",
    ["", "swordfish", "[]", '{"sequence": "swordfish"}', '{"phase": "swordfish"}', '{"places": ["swordfish"]}'],
)
def test_a_record_that_is_none_is_refused_without_quoting_it(text: str) -> None:
    caught = error_of(state.load, text, FakeSealer(), VM)
    assert caught.code is PermanentCode.MISCONFIGURED
    assert caught.remedy
    assert SECRET not in f"{caught!r}"
    assert caught.__context__ is None


@pytest.mark.parametrize(
    "plaintext",
    [
        b"swordfish",
        b"[]",
        b'"swordfish"',
        b'{"metadata": {"vm_name": "swordfish"}}',
        b'{"user_data": null, "metadata": {"vm_id": ["swordfish"]}}',
        b"[" * 100_000,
        b'{"user_data": null, "metadata": {"vm_id": "\\ud800"}}',
    ],
    ids=["text", "list", "string", "half", "other types", "deep", "half a character"],
)
def test_sealed_content_of_another_version_is_refused_without_quoting_it(plaintext: bytes) -> None:
    sealed = FakeSealer().seal(plaintext, f"{VM}/data")
    caught = error_of(state.load, json.dumps({"v": 2, "sealed": {"data": sealed}}), FakeSealer(), VM)
    assert caught.code is PermanentCode.MISCONFIGURED
    assert SECRET not in f"{caught!r}"
    assert caught.__context__ is None


@pytest.mark.parametrize("name", ["pending", "carried"])
def test_a_password_that_is_no_text_is_refused_without_quoting_it(name: str) -> None:
    sealed = FakeSealer().seal(b"swordfish\xc2", f"{VM}/password")
    caught = error_of(state.load, json.dumps({"v": 2, "sealed": {name: sealed}}), FakeSealer(), VM)
    assert caught.code is PermanentCode.MISCONFIGURED
    assert SECRET not in f"{caught!r}"
    assert caught.__context__ is None
