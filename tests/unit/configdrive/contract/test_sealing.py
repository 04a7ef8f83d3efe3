"""Guest data on its way through the queue: sealed for one event of one VM, and opened there only."""

import json

import pytest

from configdrive.contract import guest_data, sealing
from configdrive.contract.events import ContentEvent, LifecycleEvent, parse
from configdrive.contract.guest_data import GuestData
from configdrive.contract.sealing import body_of, guest_of
from configdrive.errors import PermanentCode, PermanentError
from tests.support import error_of
from tests.unit.documents import CONTENT_WORDS, OTHER_UUID, WORDS, document, event
from tests.unit.fakes.small import FakeSealer

SECRET = "swordfish"


@pytest.mark.parametrize("word", CONTENT_WORDS)
def test_nothing_that_stands_on_the_drive_is_in_the_clear(word: str) -> None:
    sent = document(word, guest={"password": SECRET, "user_data": {"text": SECRET}, "metadata": {"vm_id": SECRET}})
    body = body_of(parse(json.dumps(sent)), FakeSealer())
    assert SECRET.encode() not in body
    assert b'"guest"' not in body


def test_what_came_sealed_is_passed_on_as_it_is() -> None:
    sealed = FakeSealer().seal(GuestData().plaintext(), "any")
    assert json.loads(body_of(event("start", sealed=sealed), FakeSealer()))["data"]["sealed"] == sealed


@pytest.mark.parametrize("change", ["vm", "id"])
def test_what_is_sealed_is_refused_in_another_vm_s_or_another_event(change: str) -> None:
    body = json.loads(body_of(event("start", guest={"password": SECRET}), FakeSealer()))
    if change == "vm":
        body["data"]["vm"]["uuid"] = OTHER_UUID
    else:
        body["id"] = "another-event"
    assert error_of(guest_of, parse(json.dumps(body)), FakeSealer()).code is PermanentCode.UNSEALABLE


def sealed_event(word: str, plaintext: bytes) -> LifecycleEvent:
    sent = document(word)
    sent["data"].pop("guest", None)
    sent["data"]["sealed"] = FakeSealer().seal(plaintext, f"{sent['data']['vm']['uuid']}/{sent['id']}")
    return parse(json.dumps(sent))


@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        b"swordfish",
        b'"swordfish"',
        b'{"password": "swordfish\\u0007"}',
        b'{"swordfish!": 1}',
        b'{"user_data": {"base64": "swordfish!"}}',
        b'{"metadata": {"vm_id": ["swordfish"]}}',
        b'{"metadata": {"extra": {"swordfish\\u0007": "x"}}}',
        b"\xffswordfish",
        b'{"user_data": {"text": ""}}\nswordfish',
        b'{"user_data": null}\nswordfish',
        b"[]\nswordfish",
        b'{"password":\n"swordfish"}\nswordfish',
    ],
)
def test_bad_content_that_was_sealed_is_refused_without_quoting_it(plaintext: bytes) -> None:
    caught = error_of(guest_of, sealed_event("start", plaintext), FakeSealer())
    assert caught.code is PermanentCode.INVALID_EVENT
    assert "data.sealed" in caught.detail
    assert "swordfish" not in f"{caught!r} {caught.args}"
    assert caught.__context__ is None


def test_a_password_reset_needs_a_password_also_when_it_is_sealed() -> None:
    assert guest_of(sealed_event("password_reset", b'{"password": "x"}'), FakeSealer()).password is not None
    for plaintext in (b"{}", b'{"password": null}'):
        with pytest.raises(PermanentError, match="password") as caught:
            guest_of(sealed_event("password_reset", plaintext), FakeSealer())
        assert caught.value.code is PermanentCode.INVALID_EVENT


@pytest.mark.parametrize("word", sorted(set(WORDS) - set(CONTENT_WORDS)))
def test_events_without_content_say_nothing(word: str) -> None:
    parsed = event(word)
    assert not isinstance(parsed, ContentEvent)
    assert guest_of(parsed, FakeSealer()) == GuestData()


@pytest.mark.parametrize(
    ("plaintext", "content"),
    [
        (b'{"user_data": {"text": "#!/bin/sh"}}', b"#!/bin/sh"),
        (b'{"user_data": {"text": "#!/bin/sh"}}\r\n', b"#!/bin/sh"),
        (b'{\n  "user_data": {"text": "#!/bin/sh"}\n}\n', b"#!/bin/sh"),
        (b"{}\n#!/bin/sh\n", b"#!/bin/sh\n"),
        (b'{"password": "x"}\n{"a": 1}', b'{"a": 1}'),
        (b"{}\n\xff\n\x00", b"\xff\n\x00"),
    ],
)
def test_user_data_stand_in_the_sealed_json_or_behind_it(plaintext: bytes, content: bytes) -> None:
    user_data = guest_of(sealed_event("start", plaintext), FakeSealer()).user_data
    assert user_data is not None
    assert user_data.content().get_secret_value() == content


def test_user_data_behind_the_sealed_json_have_the_same_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_data, "MAX_USER_DATA", 1000)
    assert guest_of(sealed_event("start", b"{}\n" + bytes(1000)), FakeSealer()).user_data is not None
    caught = error_of(guest_of, sealed_event("start", b"{}\n" + bytes(1001)), FakeSealer())
    assert caught.code is PermanentCode.CONTENT_TOO_LARGE
    assert "data.sealed: user_data" in caught.detail


def test_what_grows_too_large_by_sealing_is_refused_before_it_is_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    grown = event("start", guest={"user_data": {"text": "x" * 1000}})
    monkeypatch.setattr(sealing, "MAX_EVENT_BYTES", 1500)
    caught = error_of(body_of, grown, FakeSealer())
    assert caught.code is PermanentCode.CONTENT_TOO_LARGE
