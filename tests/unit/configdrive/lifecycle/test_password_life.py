"""The password's life, rule by rule: what stands on the drive that the guest boots with."""

from __future__ import annotations

import pytest

from configdrive.contract.outcome import Status
from configdrive.lifecycle.state import Passwords
from configdrive.model import PowerState
from tests.unit.documents import Json
from tests.unit.fakes.fleet import HELLO, HOST_2, Fleet, running


def test_rule_1_2_a_reset_is_pending_until_the_next_start_and_on_every_rebuild_of_that_boot(fleet: Fleet) -> None:
    running(fleet)
    settled = fleet.send("password_reset", guest={"password": "new"})
    assert settled.outcome.facts == {"password": "pending"}
    assert fleet.password() is None
    fleet.send("stop")
    settled = fleet.send("start")
    assert settled.outcome.facts["password"] == "on_drive"
    assert fleet.password() == "new"
    fleet.power(PowerState.RUNNING)
    fleet.send("update", apply="now")
    assert fleet.password() == "new"
    fleet.send("start")
    assert fleet.password() == "new"


@pytest.mark.parametrize("word", ["deploy", "start"])
def test_rule_1_a_deploy_or_start_that_carries_a_password_delivers_it(fleet: Fleet, word: str) -> None:
    first: Json = {"guest": {"password": "first"}}
    fleet.send("deploy", **first if word == "deploy" else {})
    fleet.send("start", **first if word == "start" else {})
    assert fleet.password() == "first"


def test_rule_3_a_stop_consumes_the_password_that_was_on_the_drive(fleet: Fleet) -> None:
    running(fleet, guest={"password": "first"})
    fleet.send("stop")
    fleet.send("start")
    assert fleet.password() is None


def test_rule_3_a_password_that_came_meanwhile_is_not_consumed(fleet: Fleet) -> None:
    running(fleet, guest={"password": "first"})
    fleet.send("password_reset", guest={"password": "second"})
    assert fleet.password() == "first"
    settled = fleet.send("stop")
    assert settled.outcome.facts == {"attach": "removed", "password": "pending"}
    fleet.send("start")
    assert fleet.password() == "second"


def test_rule_3_a_power_on_that_failed_keeps_the_password(fleet: Fleet) -> None:
    running(fleet, guest={"password": "first"})
    settled = fleet.send("stop", booted=False)
    assert settled.outcome.facts["password"] == "pending"
    fleet.send("start")
    assert fleet.password() == "first"


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


def test_rule_5_a_reset_of_a_running_vm_exchanges_the_medium_only_when_asked(fleet: Fleet) -> None:
    running(fleet)
    fleet.send("password_reset", guest={"password": "later"})
    assert fleet.password() is None
    settled = fleet.send("password_reset", guest={"password": "at once"}, apply="now")
    assert fleet.password() == "at once"
    assert settled.outcome.facts["password"] == "on_drive"
    fleet.send("stop")
    fleet.send("start")
    assert fleet.password() is None


def test_rule_5_a_reset_now_of_a_halted_vm_waits_and_says_so(fleet: Fleet) -> None:
    fleet.send("deploy")
    settled = fleet.send("password_reset", guest={"password": "at once"}, apply="now")
    assert (settled.outcome.detail, settled.outcome.facts) == ("comes with the next start", {"password": "pending"})
    assert fleet.medium() is None


def test_rule_6_a_delivered_password_goes_from_the_drive_of_a_running_vm(fleet: Fleet) -> None:
    running(fleet, guest=HELLO | {"password": "first"})
    settled = fleet.send("update", password_delivered=True)
    assert fleet.password() is None
    assert fleet.user_data() == b"hello"
    assert settled.outcome.facts["password"] == "none"
    fleet.send("start")
    assert fleet.password() is None


def test_rule_6_a_password_that_came_meanwhile_stays_pending(fleet: Fleet) -> None:
    running(fleet, guest={"password": "first"})
    fleet.send("password_reset", guest={"password": "second"})
    settled = fleet.send("update", password_delivered=True)
    assert fleet.password() is None
    assert settled.outcome.facts["password"] == "pending"
    fleet.send("start")
    assert fleet.password() == "second"


@pytest.mark.parametrize(("guest_os", "remark"), [(None, "no admin_pass: guest_os unknown"), ("windows", None)])
def test_an_outcome_says_when_cloudbase_init_would_not_find_the_password(
    fleet: Fleet, guest_os: str | None, remark: str | None
) -> None:
    settled = fleet.send("start", guest={"password": "first"}, guest_os=guest_os)
    assert settled.outcome.facts.get("remarks") == remark
    assert (b"first" in fleet.files()["openstack/latest/meta_data.json"]) == (guest_os == "windows")
