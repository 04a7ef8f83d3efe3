"""The event contract: what it takes, what it refuses, and that a refusal names the field at fault."""

import json
from typing import Any

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator

from configdrive.contents.render import render
from configdrive.contract.events import DeployEvent, MigrateEvent, MigratePhase, json_schema, parse, short_type
from configdrive.contract.sealing import body_of, guest_of
from configdrive.drive_data import Metadata, Nic, SshKey, VmData
from configdrive.lifecycle.transitions import vm_of
from tests.unit import strategies
from tests.unit.documents import ALICE, UUID, WORDS, Json, document, event, full_document
from tests.unit.fakes.small import FakeSealer
from tests.unit.refusals import ENVELOPES, VALUES, refusal, refused, with_value

SCHEMA = json_schema()
fits = Draft202012Validator(SCHEMA).is_valid
KNOWN = VmData(metadata=Metadata(vm_id="14"), ssh_keys=(SshKey("old", ALICE),), nics=(Nic("02:00:5e:10:00:01"),))


# --- what is taken ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("make", [document, full_document])
def test_takes_the_smallest_and_the_fullest_event_of_each_word(word: str, make: Any) -> None:  # noqa: ANN401
    parsed = parse(json.dumps(make(word)))
    assert short_type(parsed.type) == word
    assert (parsed.data.vm.uuid, parsed.data.vm.instance_name) == (UUID, "i-2-14-VM")


@given(strategies.documents())
def test_takes_every_valid_event_and_the_exported_schema_does_too(sent: Json) -> None:
    """It says the same behind the queue, and a drive can be built from it."""
    parsed = parse(json.dumps(sent))
    assert fits(sent)
    assert parsed.data.vm.uuid == sent["data"]["vm"]["uuid"].lower()
    assert parsed.data.sequence == sent["data"]["sequence"]
    arrived = parse(body_of(parsed, FakeSealer()))
    assert type(arrived) is type(parsed)
    before, after = (one.model_dump(exclude={"data": {"guest", "sealed"}}) for one in (parsed, arrived))
    assert before == after
    guest, opened = guest_of(parsed, FakeSealer()), guest_of(arrived, FakeSealer())
    assert (opened.merged_into(KNOWN), opened.password) == (guest.merged_into(KNOWN), guest.password)
    assert opened.model_fields_set == guest.model_fields_set
    assert render(vm_of(None, parsed), guest.merged_into(VmData()), guest.password)


def test_schema_says_what_it_is_and_names_every_word() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert {example["type"] for example in SCHEMA["examples"]} == {f"configdrive.vm.{word}.v1" for word in WORDS}
    assert "version 1" in SCHEMA["title"]


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("field", ["id", "source", "type", "data"])
def test_schema_and_parser_ask_for_the_same_fields_of_the_envelope(word: str, field: str) -> None:
    sent = document(word)
    assert fits(sent)
    del sent[field]
    assert not fits(sent)
    refused(sent)


def test_uuids_hypervisors_and_macs_are_kept_in_lower_case() -> None:
    sent = document("deploy", vm={"uuid": UUID.upper(), "instance_name": "i"}, hypervisor="KVM")
    sent["subject"] = UUID.upper()
    sent["data"]["guest"] = {"nics": [{"mac": "02:00:5E:10:00:01"}]}
    parsed = parse(json.dumps(sent))
    assert isinstance(parsed, DeployEvent)
    assert (parsed.subject, parsed.data.vm.uuid, parsed.data.hypervisor) == (UUID, UUID, "kvm")
    assert parsed.data.guest is not None
    assert parsed.data.guest.nics is not None
    assert parsed.data.guest.nics[0].mac == "02:00:5e:10:00:01"


def test_migrate_without_phase_means_complete() -> None:
    parsed = event("migrate")
    assert isinstance(parsed, MigrateEvent)
    assert parsed.data.phase is MigratePhase.COMPLETE


def test_extensions_of_the_envelope_are_ignored() -> None:
    assert refusal(document("stop") | {"comexampleextension": ["anything"]}) is None


def test_of_duplicate_keys_the_last_one_counts_for_everybody() -> None:
    text = json.dumps(document("start")).replace('"sequence": 1', '"sequence": 1, "sequence": 2')
    assert parse(text).data.sequence == 2


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("field", "value"), VALUES)
def test_refuses_a_bad_value_and_names_its_field(field: str, value: object) -> None:
    error = refused(with_value(field, value))
    named = field if not field.startswith("guest.") else field.split(".")[1]
    assert named in error.detail
    assert error.remedy


@pytest.mark.parametrize(("field", "value"), ENVELOPES)
def test_refuses_a_bad_envelope_and_names_the_attribute(field: str, value: object) -> None:
    assert field in refused(full_document("stop") | {field: value}).detail


@pytest.mark.parametrize(
    ("word", "field"),
    [
        ("deploy", "host"),
        ("start", "host"),
        ("stop", "sequence"),
        ("migrate", "destination"),
        ("password_reset", "guest"),
        ("update", "vm"),
        ("destroy", "hypervisor"),
    ],
)
def test_names_the_field_that_is_missing(word: str, field: str) -> None:
    sent = document(word)
    del sent["data"][field]
    assert field in refused(sent).detail


def test_guest_in_the_clear_and_sealed_exclude_each_other() -> None:
    assert refusal(document("start", guest={"password": "x"})) is None
    assert refusal(document("start", sealed="v1.0123456789abcdef.AAAA")) is None
    assert "sealed" in refused(document("start", guest={"password": "x"}, sealed="v1.0123456789abcdef.AAAA")).detail


@pytest.mark.parametrize("field", ["guest", "sealed", "label", "network_offering"])
@pytest.mark.parametrize("word", ["stop", "migrate", "destroy"])
def test_events_that_change_no_content_may_not_carry_any(word: str, field: str) -> None:
    content = full_document("deploy")["data"] | {"sealed": "v1.0123456789abcdef.AAAA"}
    assert f"data.{field}" in refused(document(word, **{field: content[field]})).detail


def test_an_error_names_many_fields_but_not_endlessly() -> None:
    error = refused(document("start", **{f"unknown{index}": 1 for index in range(40)}))
    assert error.detail.count("unknown") == 5
    assert "35 more" in error.detail


def test_a_misspelt_field_is_named() -> None:
    assert "data.guest.pasword" in refused(document("start", guest={"pasword": "x"})).detail
