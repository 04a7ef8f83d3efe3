"""The password's life, rule by rule: what stands on the drive that the guest boots with."""

import pytest

from configdrive.contract.outcome import Status
from configdrive.lifecycle.state import Passwords
from tests.unit.documents import Json
from tests.unit.fakes.fleet import HELLO, HOST_2, Fleet, running


def given(password: str) -> Json:
    return {"guest": {"password": password}}


Event = tuple[str, Json, str | None, str | None]
"""An event, the password that is on the drive afterwards, and what the outcome says of it."""

STOP: Event = ("stop", {}, None, None)
STOP_WITH_ONE_PENDING: Event = ("stop", {}, None, "pending")
START_WITHOUT: Event = ("start", {}, None, "none")
NOW, DELIVERED = {"apply": "now"}, {"password_delivered": True}

STORIES: dict[str, list[Event]] = {
    "1, 2: a reset is pending until the next start, and on every rebuild of that boot": [
        ("password_reset", given("new"), None, "pending"),
        STOP_WITH_ONE_PENDING,
        ("start", {}, "new", "on_drive"),
        ("update", NOW, "new", "on_drive"),
        ("start", {}, "new", "on_drive"),
    ],
    "1: a start that carries a password delivers it": [("start", given("first"), "first", "on_drive")],
    "1: so does a deploy": [("deploy", {"start": True} | given("first"), "first", "on_drive")],
    "3: a stop consumes the password that was on the drive": [
        ("start", given("first"), "first", "on_drive"),
        STOP,
        START_WITHOUT,
    ],
    "3: one that came meanwhile is not consumed": [
        ("start", given("first"), "first", "on_drive"),
        ("password_reset", given("second"), "first", "pending"),
        STOP_WITH_ONE_PENDING,
        ("start", {}, "second", "on_drive"),
    ],
    "3: a power-on that failed keeps the password": [
        ("start", given("first"), "first", "on_drive"),
        ("stop", {"booted": False}, None, "pending"),
        ("start", {}, "first", "on_drive"),
    ],
    "5: a reset of a running VM exchanges the medium only when asked": [
        ("password_reset", given("later"), None, "pending"),
        ("password_reset", given("at once") | NOW, "at once", "on_drive"),
        STOP,
        START_WITHOUT,
    ],
    "6: a delivered password goes from the drive of a running VM": [
        ("start", given("first"), "first", "on_drive"),
        ("update", DELIVERED, None, "none"),
        START_WITHOUT,
    ],
    "6: one that came meanwhile stays pending": [
        ("start", given("first"), "first", "on_drive"),
        ("password_reset", given("second"), "first", "pending"),
        ("update", DELIVERED, None, "pending"),
        ("start", {}, "second", "on_drive"),
    ],
}


@pytest.mark.parametrize("rule", STORIES)
def test_the_password_on_the_drive_is_what_the_rules_say(fleet: Fleet, rule: str) -> None:
    running(fleet)
    for word, data, password, fact in STORIES[rule]:
        said = fleet.send(word, **data).outcome.facts.get("password")
        on_drive = None if fleet.medium() is None else fleet.password()
        assert (on_drive, said) == (password, fact), word


def test_rule_3_a_second_start_without_a_stop_still_carries_the_password(fleet: Fleet) -> None:
    running(fleet, guest={"password": "first"})
    fleet.machine.host = HOST_2
    fleet.send("start", host="host-2")
    assert fleet.password() == "first"


def test_rule_4_a_vm_whose_template_is_not_password_enabled_never_gets_one(fleet: Fleet) -> None:
    running(fleet, password_enabled=False, guest=HELLO | {"password": "never"})
    assert fleet.password() is None
    settled = fleet.send("password_reset", guest={"password": "never"}, apply="now")
    assert settled.outcome.status is Status.NOT_APPLICABLE
    assert "password-enabled" in settled.outcome.detail
    assert settled.outcome.facts == {}
    fleet.send("start")
    assert fleet.password() is None
    assert fleet.known().passwords == Passwords()


def test_rule_5_a_reset_now_of_a_halted_vm_waits_and_says_so(fleet: Fleet) -> None:
    fleet.send("deploy")
    settled = fleet.send("password_reset", **given("at once"), apply="now")
    assert (settled.outcome.detail, settled.outcome.facts) == ("comes with the next start", {"password": "pending"})
    assert fleet.medium() is None


@pytest.mark.parametrize(("guest_os", "remark"), [(None, "no admin_pass: guest_os unknown"), ("windows", None)])
def test_an_outcome_says_when_cloudbase_init_would_not_find_the_password(
    fleet: Fleet, guest_os: str | None, remark: str | None
) -> None:
    settled = fleet.send("start", guest={"password": "first"}, guest_os=guest_os)
    assert settled.outcome.facts.get("remarks") == remark
    assert (b"first" in fleet.files()["openstack/latest/meta_data.json"]) == (guest_os == "windows")
