import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.workers.cloudstack.recorded import FOLDER, NEW_PASSWORD, PASSWORD, UUID, body
from workers.cloudstack.notices import MAX_PAYLOAD_BYTES, Form, Notice, UnreadableError, read
from workers.cloudstack.relevance import Irrelevant, Relevance, relevance_of

EVERY = sorted(path.stem for path in FOLDER.glob("*.json"))
MASKED = {"job-create-objects", "job-resetpassword-objects"}


def notice(name: str) -> Notice:
    found = read(body(name))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "form", "counts"),
    [
        ("action-start-completed", Form.ACTION, Relevance.POWER),
        ("action-resetsshkey-completed", Form.ACTION, Relevance.CONTENT),
        ("short-start-completed", Form.SHORT, Relevance.POWER),
        ("short-resetuserdata-completed", Form.SHORT, Relevance.CONTENT),
        ("job-create-strings", Form.JOB, Relevance.PASSWORD),
        ("job-create-objects", Form.JOB, Relevance.PASSWORD),
        ("job-resetpassword-strings", Form.JOB, Relevance.PASSWORD),
        ("job-resetpassword-objects", Form.JOB, Relevance.PASSWORD),
        ("job-destroy-strings", Form.JOB, Relevance.POWER),
        ("state-running-post", Form.STATE, Relevance.POWER),
    ],
)
def test_what_counts_is_read_in_each_form(name: str, form: Form, counts: Relevance) -> None:
    found = notice(name)

    assert (found.form, relevance_of(found)) == (form, counts)
    assert found.vm == (UUID if "destroy" not in name else "aaf1457c-5f5e-4a34-a5bb-13677b71b932")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("action-destroy-scheduled", "not final"),
        ("action-reboot-completed", "changes nothing"),
        ("action-volume-create", "another resource"),
        ("job-start-failed-objects", "not final"),
        ("state-running-pre", "not final"),
        ("state-volume", "another resource"),
    ],
)
def test_all_else_counts_for_nothing_and_says_why(name: str, reason: str) -> None:
    meaning = relevance_of(notice(name))

    assert isinstance(meaning, Irrelevant)
    assert reason in meaning.reason


@pytest.mark.parametrize(
    "name",
    [
        "action-null-uuid-in-description",
        "job-null-uuid-in-result",
        "job-null-uuid-in-command",
        "job-null-uuid-in-context",
        "short-start-completed",
    ],
)
def test_a_uuid_that_is_null_is_found_where_else_it_stands(name: str) -> None:
    assert notice(name).vm == UUID


def test_the_routing_key_names_the_vm_too() -> None:
    key = f"management-server.ResourceStateEvent.OperationSucceeded.VirtualMachine.{UUID}"
    found = read(body("state-null-uuid"), routing_key=key)

    assert found is not None
    assert found.vm == UUID


def test_strings_and_objects_say_the_same() -> None:
    strings, objects = notice("job-resetpassword-strings"), notice("job-resetpassword-objects")

    assert (strings.vm, strings.event, strings.job, strings.identities) == (
        objects.vm,
        objects.event,
        objects.job,
        objects.identities,
    )
    assert not strings.masked
    assert objects.masked
    assert strings.password is not None
    assert strings.password.get_secret_value() == NEW_PASSWORD


def test_what_a_job_was_asked_is_not_kept_but_that_it_was_to_expunge() -> None:
    assert notice("job-destroy-strings").expunged
    assert not notice("job-create-strings").expunged


@pytest.mark.parametrize("name", EVERY)
def test_nothing_secret_shows_in_a_notice(name: str) -> None:
    found = read(body(name))

    assert not any(secret in repr(found) for secret in (PASSWORD, NEW_PASSWORD, "I2Nsb3VkLWNvbmZpZw"))


@pytest.mark.parametrize("name", EVERY)
def test_the_same_payload_has_the_same_identities_however_it_is_spaced(name: str) -> None:
    one, other = read(body(name)), read(json.dumps(json.loads(body(name))).encode())

    assert (one and one.identities) == (other and other.identities)


def test_notices_that_differ_have_other_identities() -> None:
    seen = [
        found.identities for name in EVERY if (found := read(body(name))) and found.identities and "null" not in name
    ]
    twins = len(MASKED)  # each says the same as its twin of strings

    assert len(set(seen)) == len(seen) - twins


def test_the_webhook_s_own_id_is_one_more_identity() -> None:
    found = read(body("short-start-completed"), event_id="e-1")

    assert found is not None
    assert found.identities == ("webhook e-1",)


@pytest.mark.parametrize("text", [b"", b"no JSON", b"[]", b'"VM.START"', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_object_is_unreadable(text: bytes) -> None:
    with pytest.raises(UnreadableError):
        read(text)


def test_what_is_too_large_is_unreadable() -> None:
    with pytest.raises(UnreadableError, match="the limit is"):
        read(b'{"event": "' + b"x" * MAX_PAYLOAD_BYTES + b'"}')


def test_an_object_of_another_kind_is_about_no_event() -> None:
    assert read(body("webhook-trial")) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.just(UUID),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = sorted({key for name in EVERY for key in json.loads(body(name))})


@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=8))
def test_any_object_is_read_or_passed_over(document: dict[str, object]) -> None:
    found = read(json.dumps(document).encode())

    if found is not None:
        assert isinstance(relevance_of(found), Relevance | Irrelevant)
