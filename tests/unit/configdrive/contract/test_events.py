"""The event contract: what it takes, what it refuses, and that a refusal names the field at fault."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from configdrive.contract.events import (
    DeployEvent,
    MigrateEvent,
    MigratePhase,
    json_schema,
    parse,
    short_type,
)
from configdrive.errors import PermanentCode
from tests.unit import strategies
from tests.unit.documents import UUID, WORDS, Json, document, event, full_document
from tests.unit.json_schema import fits
from tests.unit.refusals import paths, planted, refusal
from tests.unit.refused import ENVELOPES, VALUES, with_value

SCHEMA = json_schema()


# --- what is taken ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("make", [document, full_document])
def test_takes_the_smallest_and_the_fullest_event_of_each_word(word: str, make: Any) -> None:  # noqa: ANN401
    parsed = parse(json.dumps(make(word)))
    assert short_type(parsed.type) == word
    assert (parsed.data.vm.uuid, parsed.data.vm.instance_name) == (UUID, "i-2-14-VM")


@given(strategies.documents())
def test_takes_every_valid_event_and_the_exported_schema_does_too(sent: Json) -> None:
    parsed = parse(json.dumps(sent))
    assert fits(sent, SCHEMA, SCHEMA)
    assert parsed.data.vm.uuid == sent["data"]["vm"]["uuid"].lower()
    assert parsed.data.sequence == sent["data"]["sequence"]


@pytest.mark.parametrize("word", WORDS)
def test_schema_and_parser_refuse_the_same_structural_faults(word: str) -> None:
    whole = full_document(word)
    for path in paths(whole):
        if path and isinstance(path[-1], str):
            stranger = planted(whole, (*path[:-1], "stranger"), 1)
            # An envelope may have extensions; metadata and services have names of their own.
            free = len(path) == 1 or path[-2] in {"extra", "services"}
            assert free or not fits(stranger, SCHEMA, SCHEMA)
            assert free or refusal(stranger) is not None
        if path not in {(), ("datacontenttype",), ("specversion",), ("type",)} and path[-2:-1] != ("extra",):
            numbered = planted(whole, path, 3.5)
            assert not fits(numbered, SCHEMA, SCHEMA), path
            assert refusal(numbered) is not None, path


def test_schema_says_what_it_is_and_names_every_word() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert {example["type"] for example in SCHEMA["examples"]} == {f"configdrive.vm.{word}.v1" for word in WORDS}
    assert "version 1" in SCHEMA["title"]


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("field", ["id", "source", "type", "data"])
def test_schema_and_parser_ask_for_the_same_fields_of_the_envelope(word: str, field: str) -> None:
    sent = document(word)
    assert fits(sent, SCHEMA, SCHEMA)
    del sent[field]
    assert not fits(sent, SCHEMA, SCHEMA)
    assert refusal(sent) is not None


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
    error = refusal(with_value(field, value))
    assert error is not None
    assert error.code is PermanentCode.INVALID_EVENT
    named = field if not field.startswith("guest.") else field.split(".")[1]
    assert named in error.detail
    assert error.remedy


@pytest.mark.parametrize(("field", "value"), ENVELOPES)
def test_refuses_a_bad_envelope_and_names_the_attribute(field: str, value: object) -> None:
    error = refusal(full_document("stop") | {field: value})
    assert error is not None
    assert error.code is PermanentCode.INVALID_EVENT
    assert field in error.detail


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
    error = refusal(sent)
    assert error is not None
    assert field in error.detail


def test_guest_in_the_clear_and_sealed_exclude_each_other() -> None:
    assert refusal(document("start", guest={"password": "x"})) is None
    assert refusal(document("start", sealed="v1.0123456789abcdef.AAAA")) is None
    error = refusal(document("start", guest={"password": "x"}, sealed="v1.0123456789abcdef.AAAA"))
    assert error is not None
    assert "sealed" in error.detail


@pytest.mark.parametrize("field", ["guest", "sealed", "label", "network_offering"])
@pytest.mark.parametrize("word", ["stop", "migrate", "destroy"])
def test_events_that_change_no_content_may_not_carry_any(word: str, field: str) -> None:
    error = refusal(document(word, **{field: full_document("deploy")["data"].get(field, "v1.0123456789abcdef.AAAA")}))
    assert error is not None
    assert f"data.{field}" in error.detail


def test_an_error_names_many_fields_but_not_endlessly() -> None:
    error = refusal(document("start", **{f"unknown{index}": 1 for index in range(40)}))
    assert error is not None
    assert error.detail.count("unknown") == 5
    assert "35 more" in error.detail


def test_a_misspelt_field_is_named() -> None:
    error = refusal(document("start", guest={"pasword": "x"}))
    assert error is not None
    assert "data.guest.pasword" in error.detail
