"""Whatever is sent: an event or a refusal that quotes nothing of it, and nothing that no drive could be built from."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configdrive.contents.render import render
from configdrive.contract.events import MAX_EVENT_BYTES, ContentEvent, parse
from configdrive.contract.guest_data import MAX_USER_DATA
from configdrive.drive_data import VmData
from configdrive.errors import PermanentCode
from configdrive.lifecycle.transitions import vm_of
from tests.unit import strategies
from tests.unit.documents import CONTENT_WORDS, WORDS, document, event, full_document
from tests.unit.refusals import paths, planted, refusal, refused, text_of

VM = vm_of(None, event("deploy"))
MARKER = "Sw0rdfish!-marker"
PLAIN_MARKER = "Sw0rdfish"


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
    assert refused(raw).detail


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
            assert render(VM, merged, taken.data.guest.password)


@pytest.mark.parametrize("word", WORDS)
def test_no_refusal_and_no_repr_quotes_a_value(word: str) -> None:
    whole = full_document(word)
    count = 0
    for path in paths(whole):
        if path[:2] == ("data", "guest") and word != "deploy":
            continue  # it is the same in each
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
                count += 1
                assert PLAIN_MARKER not in text_of(error), path
                assert len(text_of(error)) < 4_000, path
    assert count > 100


@pytest.mark.parametrize("key", [MARKER, f"{PLAIN_MARKER} x", f"{PLAIN_MARKER}\n", PLAIN_MARKER * 10, "söhne"])
def test_no_refusal_quotes_a_key_that_could_not_be_a_field(key: str) -> None:
    whole = full_document("deploy")
    for path in paths(whole):
        if path and isinstance(path[-1], str):
            for value in (1, {key: 1}):
                error = refusal(planted(whole, (*path[:-1], key), value))
                assert error is None or key not in text_of(error), path


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
    assert error is None or len(text_of(error)) < 1_000
    return error is not None


def with_user_data(form: str, content: str) -> bytes:
    return (
        json.dumps(document("start", guest={"user_data": {form: "HERE"}})).encode().replace(b"HERE", content.encode())
    )


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
