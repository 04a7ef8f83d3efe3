"""The event contract: what it takes, what it refuses, and that a refusal quotes nothing of what was sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configdrive import contents
from configdrive.errors import PermanentCode, PermanentError
from configdrive.events import (
    MAX_EVENT_BYTES,
    ContentEvent,
    DeployEvent,
    MigrateEvent,
    MigratePhase,
    json_schema,
    parse,
    short_type,
)
from configdrive.guest_data import MAX_USER_DATA
from configdrive.lifecycle import vm_of
from configdrive.model import VmData
from tests.unit import strategies
from tests.unit.documents import CONTENT_WORDS, OTHER_UUID, UUID, WORDS, Json, document, event, full_document
from tests.unit.json_schema import fits

SCHEMA = json_schema()
VM = vm_of(None, event("deploy"))
MARKER = "Sw0rdfish!-marker"
PLAIN_MARKER = "Sw0rdfish"

Path = tuple[str | int, ...]


def refusal(raw: str | bytes | Json) -> PermanentError | None:
    """Parse; anything but an event or a `PermanentError` fails the test."""
    refused: PermanentError | None = None
    try:
        parse(json.dumps(raw) if isinstance(raw, dict) else raw)
    except PermanentError as error:
        refused = error
    # The cause of a refusal would quote what was sent.
    assert refused is None or (refused.__cause__, refused.__context__) == (None, None)
    return refused


def told(error: PermanentError) -> str:
    return f"{error} {error!r} {error.args} {error.detail} {error.remedy}"


def paths(value: Any, path: Path = ()) -> Iterator[Path]:  # noqa: ANN401 - any JSON
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, (*path, key))
    if isinstance(value, list):
        for index, inner in enumerate(value):
            yield from paths(inner, (*path, index))


def planted(whole: Json, path: Path, value: object) -> Any:  # noqa: ANN401 - any JSON
    if not path:
        return value
    copy = deepcopy(whole)
    inner: Any = copy
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return copy


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
        if path not in {(), ("datacontenttype",), ("specversion",), ("type",)}:
            numbered = planted(whole, path, 3.5)
            assert not fits(numbered, SCHEMA, SCHEMA), path
            assert refusal(numbered) is not None, path


def test_schema_says_what_it_is_and_names_every_word() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(SCHEMA["discriminator"]["mapping"]) == {f"configdrive.vm.{word}.v1" for word in WORDS}
    assert "version 1" in SCHEMA["title"]


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
    assert refusal(document("stop") | {"comexampleextension": [MARKER]}) is None


def test_of_duplicate_keys_the_last_one_counts_for_everybody() -> None:
    text = json.dumps(document("start")).replace('"sequence": 1', '"sequence": 1, "sequence": 2')
    assert parse(text).data.sequence == 2


@pytest.mark.parametrize(
    ("services", "named"),
    [
        ({}, False),
        ({"UserData": "ConfigDrive"}, True),
        ({"userdata": "CONFIGDRIVE"}, True),
        ({"UserData": "VirtualRouter"}, False),
        ({"UserData": ["VirtualRouter", "ConfigDrive"]}, True),
        ({"UserData": []}, False),
        ({"Dhcp": "ConfigDrive"}, False),
        ({"Dhcp": "VirtualRouter", "UserData": ["ConfigDrive"]}, True),
    ],
)
def test_reads_from_the_offering_whether_config_drive_provides_user_data(services: Json, *, named: bool) -> None:
    parsed = event("deploy", network_offering={"services": services})
    assert isinstance(parsed, DeployEvent)
    assert parsed.data.network_offering is not None
    assert parsed.data.network_offering.names_config_drive is named


# --- what is refused --------------------------------------------------------------------------------------------------

LONG = "x" * 70_000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sequence", -1),
        ("sequence", 2**53),
        ("sequence", "1"),
        ("sequence", True),
        ("sequence", 1.0),
        ("vm.uuid", "not-a-uuid"),
        ("vm.uuid", f"{UUID}\n"),
        ("vm.uuid", f"{{{UUID}}}"),
        ("vm.instance_name", ""),
        ("vm.instance_name", "../../etc/passwd"),
        ("vm.instance_name", "a/b"),
        ("vm.instance_name", "."),
        ("vm.instance_name", "i-2-14-VM\n"),
        ("vm.instance_name", "a" * 65),
        ("vm.instance_name", "<name/>"),
        ("hypervisor", ""),
        ("hypervisor", "../kvm"),
        ("hypervisor", "k" * 33),
        ("hypervisor", "\u212avm"),
        ("host", "host 1"),
        ("host", "h" * 129),
        ("zone", "Zone"),
        ("zone", "a.b"),
        ("primary_storage", "../other"),
        ("primary_storage", ".."),
        ("primary_storage", "a\\b"),
        ("primary_storage", "a\nb"),
        ("primary_storage", "s" * 256),
        ("attach", "somebody"),
        ("presentation", "floppy"),
        ("label", ""),
        ("label", "a" * 17),
        ("label", "config drive"),
        ("label", "Überlabel"),
        ("password_enabled", "yes"),
        ("password_enabled", 1),
        ("start", "off"),
        ("sealed", ""),
        ("sealed", "a b"),
        ("network_offering.services", {"User\nData": "ConfigDrive"}),
        ("network_offering.services.UserData", 5),
        ("network_offering.services", {f"s{index}": "x" for index in range(65)}),
        ("network_offering.services.UserData", ["x"] * 17),
        ("guest.metadata.vm_id", ""),
        ("guest.metadata.vm_id", "1\n2"),
        ("guest.metadata.vm_id", "1\u20282"),
        ("guest.metadata.vm_id", "v" * 256),
        ("guest.metadata.extra", {"../up": "x"}),
        ("guest.metadata.extra", {"k" * 61: "x"}),
        ("guest.metadata.extra", {"vm-id": "collides with the VM's own"}),
        ("guest.metadata.extra", {"a-b": "x", "a_b": "y"}),
        ("guest.metadata.extra", {"key": "nul\x00"}),
        ("guest.metadata.extra", {"key": LONG}),
        ("guest.metadata.extra", {f"key{index}": "x" for index in range(257)}),
        ("guest.user_data", {}),
        ("guest.user_data", {"text": "a", "base64": "YQ=="}),
        ("guest.user_data", {"base64": "not base64!"}),
        ("guest.user_data", {"base64": "YQ==\n"}),
        ("guest.ssh_keys", ["no key"]),
        ("guest.ssh_keys", [f"ssh-rsa {'A' * 20}\nssh-rsa {'B' * 20}"]),
        ("guest.ssh_keys", [f"ssh-rsa {'A' * 17_000}"]),
        ("guest.ssh_keys", [f"ssh-rsa {'A' * 20} {index}" for index in range(65)]),
        ("guest.ssh_keys", [{"name": "a", "key": f"ssh-rsa {'A' * 20}"}] * 2),
        ("guest.nics", [{"mac": "02-00-5e-10-00-01"}]),
        ("guest.nics", [{"mac": "02:00:5e:10:00:01"}] * 2),
        ("guest.nics", [{"mac": "02:00:5e:10:00:01", "mtu": 67}]),
        ("guest.nics", [{"mac": "02:00:5e:10:00:01", "mtu": 65_536}]),
        ("guest.nics", [{"mac": f"02:00:5e:10:00:0{index}", "default": True} for index in range(2)]),
        ("guest.nics", [{"mac": f"02:00:5e:10:00:{index:02x}"} for index in range(65)]),
        ("guest.nics", [{"mac": "02:00:5e:10:00:01", "dns": [5]}]),
        ("guest.nics", [{"mac": "02:00:5e:10:00:01", "dns": ["fe80::1%eth0"]}]),
        ("guest.nics", [{"mac": "02:00:5e:10:00:01", "dns": ["192.0.2.53"] * 17}]),
        ("guest.nics", [{"mac": "02:00:5e:10:00:01", "addresses": [{}]}]),
        ("guest.nics", [{"mac": "02:00:5e:10:00:01", "addresses": [{"dhcp": 5}]}]),
        ("guest.nics", [{"mac": "02:00:5e:10:00:01", "addresses": [{"dhcp": 4}] * 33}]),
        ("guest.nics", [{"mac": "02:00:5e:10:00:01", "addresses": [{"cidr": "10.0.0.1/24", "dhcp": 4}]}]),
        ("guest.nics", [{"mac": "02:00:5e:10:00:01", "addresses": [{"cidr": "10.0.0.1/33"}]}]),
        ("guest.nics", [{"mac": "02:00:5e:10:00:01", "addresses": [{"cidr": 167_772_161}]}]),
        ("guest.nics", [{"mac": "02:00:5e:10:00:01", "addresses": [{"cidr": ["10.0.0.1", 24]}]}]),
        ("guest.nics", [{"mac": "02:00:5e:10:00:01", "addresses": [{"cidr": "10.0.0.1/24", "gateway": "::1"}]}]),
        ("guest.password", ""),
        ("guest.password", "two\nlines"),
        ("guest.password", "bell\x07"),
        ("guest.password", "p" * 257),
        ("guest.password", "RANDOM"),
        ("guest.password", "$6$salt$hash"),
    ],
)
def test_refuses_a_bad_value_and_names_its_field(field: str, value: object) -> None:
    whole = full_document("deploy")
    if field == "sealed":
        del whole["data"]["guest"]
    error = refusal(planted(whole, ("data", *field.split(".")), value))
    assert error is not None
    assert error.code is PermanentCode.INVALID_EVENT
    named = field if not field.startswith("guest.") else field.split(".")[1]
    assert named in error.detail
    assert error.remedy


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("specversion", "0.3"),
        ("id", ""),
        ("id", "with/slash"),
        ("id", "i" * 129),
        ("source", "two\nlines"),
        ("subject", OTHER_UUID),
        ("time", "2026-03-10T07:13:00"),
        ("time", "1979-12-31T23:59:59Z"),
        ("time", "2100-01-01T00:00:00Z"),
        ("time", 1_773_126_780),
        ("datacontenttype", "text/xml"),
        ("traceparent", "00-xyz"),
        ("data", "text"),
        ("type", "configdrive.vm.reboot.v1"),
        ("type", ["configdrive.vm.stop.v1"]),
    ],
)
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
    assert refusal(document("start", sealed="v1.box")) is None
    error = refusal(document("start", guest={"password": "x"}, sealed="v1.box"))
    assert error is not None
    assert "sealed" in error.detail


@pytest.mark.parametrize("field", ["guest", "sealed", "label", "network_offering"])
@pytest.mark.parametrize("word", ["stop", "migrate", "destroy"])
def test_events_that_change_no_content_may_not_carry_any(word: str, field: str) -> None:
    error = refusal(document(word, **{field: full_document("deploy")["data"].get(field, "v1.box")}))
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


# --- hostile input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b'{"id": "\xc3\x28"}',
        "\ud800",
        '{"id": "\ud800"}',
        '{"id": "\\ud800"}',
        "null",
        "true",
        "[]",
        "1e999",
        "NaN",
        '"text"',
        "{}",
        '{"type": null}',
        "[" * 100_000,
        '{"a":' * 100_000,
        json.dumps(document("start")).replace('"sequence": 1', f'"sequence": 1{"0" * 10_000}'),
        json.dumps(document("start")).replace('"sequence": 1', '"sequence": NaN'),
        json.dumps(document("start")).replace('"sequence": 1', '"sequence": -Infinity'),
        json.dumps(document("start")).replace('"sequence": 1', '"sequence": 1e308'),
        json.dumps(document("start")) + "trailing",
        json.dumps(document("start"))[:-1],
        json.dumps(document("start", guest={"user_data": {"text": "MARK"}})).replace("MARK", "\\udc00"),
        json.dumps(document("start", guest={"password": "MARK"})).replace("MARK", "\\udc00"),
        json.dumps(document("start", guest={"metadata": {"extra": {"k": "MARK"}}})).replace("MARK", "\\udc00"),
    ],
)
def test_refuses_what_is_no_event(raw: str | bytes) -> None:
    error = refusal(raw)
    assert error is not None
    assert error.code is PermanentCode.INVALID_EVENT
    assert error.detail


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_never_fails_otherwise_than_by_refusing(raw: str | bytes) -> None:
    assert refusal(raw) is not None


@given(st.data())
def test_never_fails_on_strange_values_and_lets_in_only_what_a_drive_can_be_built_from(data: st.DataObject) -> None:
    whole = full_document(data.draw(st.sampled_from(CONTENT_WORDS)))
    path = data.draw(st.sampled_from(list(paths(whole))))
    raw = json.dumps(planted(whole, path, data.draw(strategies.json_values)))
    if refusal(raw) is None:
        taken = parse(raw)
        assert isinstance(taken, ContentEvent)
        if taken.data.guest is not None:
            merged = taken.data.guest.merged_into(VmData())
            assert contents.render(VM, merged, taken.data.guest.password)


@given(strategies.documents(CONTENT_WORDS))
def test_a_drive_can_be_built_from_every_valid_event(sent: Json) -> None:
    taken = parse(json.dumps(sent))
    assert isinstance(taken, ContentEvent)
    if taken.data.guest is not None:
        merged = taken.data.guest.merged_into(VmData())
        assert contents.render(VM, merged, taken.data.guest.password)


@pytest.mark.parametrize("word", WORDS)
def test_no_refusal_and_no_repr_quotes_a_value(word: str) -> None:
    whole = full_document(word)
    refused = 0
    for path in paths(whole):
        for value in (
            MARKER,
            PLAIN_MARKER,
            f"{PLAIN_MARKER}\n",
            PLAIN_MARKER * 10_000,
            [MARKER],
            [[PLAIN_MARKER]],
            {MARKER: MARKER},
            {"name": PLAIN_MARKER, "key": PLAIN_MARKER},
        ):
            error = refusal(json.dumps(planted(whole, path, value)))
            if error is not None:
                refused += 1
                assert PLAIN_MARKER not in told(error), path
                assert len(told(error)) < 4_000, path
    assert refused > 100


@pytest.mark.parametrize("key", [MARKER, f"{PLAIN_MARKER} x", f"{PLAIN_MARKER}\n", PLAIN_MARKER * 10, "söhne"])
def test_no_refusal_quotes_a_key_that_could_not_be_a_field(key: str) -> None:
    whole = full_document("deploy")
    for path in paths(whole):
        if path and isinstance(path[-1], str):
            for value in (1, {key: 1}):
                error = refusal(planted(whole, (*path[:-1], key), value))
                assert error is None or key not in told(error), path


@given(st.data())
def test_no_refusal_quotes_a_value_of_any_event(data: st.DataObject) -> None:
    whole = data.draw(strategies.documents())
    path = data.draw(st.sampled_from(list(paths(whole))))
    error = refusal(json.dumps(planted(whole, path, data.draw(st.sampled_from([MARKER, [MARKER], {MARKER: MARKER}])))))
    assert error is None or PLAIN_MARKER not in told(error)


def test_secrets_do_not_show_in_the_repr_or_the_json_of_an_event() -> None:
    sent = document("deploy", guest={"password": MARKER, "user_data": {"text": MARKER}})
    assert MARKER not in repr(parse(json.dumps(sent)))
    assert MARKER not in parse(json.dumps(sent)).model_dump_json()
    sent["data"]["guest"]["user_data"] = {"base64": "U3cwcmRmaXNo"}
    assert "U3cwcmRmaXNo" not in repr(parse(json.dumps(sent)))


# --- size -------------------------------------------------------------------------------------------------------------


def too_large(raw: str | bytes) -> bool:
    error = refusal(raw)
    assert error is None or error.code is PermanentCode.CONTENT_TOO_LARGE
    assert error is None or len(told(error)) < 1_000
    return error is not None


def with_user_data(form: str, content: str) -> bytes:
    return (
        json.dumps(document("start", guest={"user_data": {form: "HERE"}})).encode().replace(b"HERE", content.encode())
    )


def test_user_data_of_65_mib_is_too_large() -> None:
    assert too_large(with_user_data("text", "x" * (65 * 2**20)))


@pytest.mark.parametrize("surplus", [0, 1])
def test_user_data_has_a_limit_in_bytes(surplus: int) -> None:
    assert too_large(with_user_data("text", "x" * (MAX_USER_DATA + surplus))) == (surplus > 0)
    assert too_large(with_user_data("text", "é" * (MAX_USER_DATA // 2 + surplus))) == (surplus > 0)


def test_user_data_in_base64_has_the_same_limit() -> None:
    largest = "A" * (MAX_USER_DATA // 3 * 4)
    assert not too_large(with_user_data("base64", largest))
    assert too_large(with_user_data("base64", largest + "AAAAAAAA"))


def test_an_event_has_a_limit_in_bytes_whatever_is_in_it() -> None:
    padding = '"' + "é" * (MAX_EVENT_BYTES // 2) + '"'
    assert too_large(padding)
    assert too_large(padding.encode())
