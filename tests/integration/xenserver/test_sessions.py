"""Sessions: shared, limited, opened again, followed to a new master, logged out; TLS that is verified."""

import logging
import os
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from configdrive.errors import Code, PermanentCode, TransientCode
from rigs.xapi import XapiPool
from tests.contract.rig import failure_of, make_image, verbs
from tests.integration.xenserver.cloud import NFS, A, B, Cloud, give
from tests.support import error_of

LOGIN = "session.login_with_password"


def test_one_session_serves_one_verb_after_the_other_and_is_logged_out_at_the_end(cloud: Cloud) -> None:
    vm, driver = cloud.vm(), cloud.driver()
    for _ in range(5):
        driver.observe(vm)
    assert (cloud.pool.calls[LOGIN], cloud.pool.sessions) == (1, 1)
    assert [(one.kind, one.open, one.reopened) for one in driver.connections()] == [("xapi", 1, 0)]
    driver.close()
    assert cloud.pool.sessions == 0
    driver.observe(vm)  # and goes on when it is asked
    driver.close()
    assert cloud.pool.sessions == 0


def test_a_process_has_no_more_sessions_than_the_inventory_allows(cloud: Cloud) -> None:
    vm, driver = cloud.vm(), cloud.driver(sessions=2)
    driver.observe(vm)
    cloud.pool.faults.delay("VM.get_record", 0.05, times=None)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: driver.observe(vm), range(16)))
    assert cloud.pool.sessions <= 2
    assert cloud.pool.calls[LOGIN] <= 2


def test_who_waits_too_long_for_a_session_reads_the_setting_s_name(cloud: Cloud) -> None:
    vm, driver = cloud.vm(), cloud.driver(sessions=1, timeout=0.2)
    (pool,) = set(driver._pools.values())
    with pool.sessions.borrow():
        error = error_of(driver.observe, vm)
    assert error.code is TransientCode.SATURATED
    assert "'sessions'" in error.remedy


def test_a_forked_worker_logs_in_for_itself_and_leaves_its_parent_s_session_alone(cloud: Cloud) -> None:
    vm, driver = cloud.vm(), cloud.driver()
    before = driver.observe(vm)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if driver.observe(vm) == before else 2
            driver.close()
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert cloud.pool.calls[LOGIN] == 2
    assert driver.observe(vm) == before
    assert (cloud.pool.calls[LOGIN], cloud.pool.sessions) == (2, 1)


def test_an_expired_session_is_opened_again_and_counted(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    vm, driver = cloud.vm(), cloud.driver()
    driver.observe(vm)
    cloud.pool.expire_sessions()
    driver.observe(vm)
    (pool,) = set(driver._pools.values())
    assert pool.sessions.calls[LOGIN] == 2
    assert "logged in again" in caplog.text
    assert [(one.open, one.reopened) for one in driver.connections()] == [(1, 1)]


def test_a_master_that_is_none_any_more_is_followed_in_the_middle(cloud: Cloud) -> None:
    vm, driver = cloud.vm(), cloud.driver()
    image = make_image(vm)
    steps = verbs(driver, vm, image, NFS, NFS)
    for number, verb in enumerate(steps.values()):
        cloud.pool.make_master((B, A)[number % 2])
        verb()
    assert cloud.pool.sessions <= 8
    assert [(one.open, one.reopened) for one in driver.connections()] == [(1, len(steps) - 1)]


def test_a_new_master_that_is_not_there_yet_costs_one_session(cloud: Cloud) -> None:
    vm, driver = cloud.vm(), cloud.driver()
    driver.observe(vm)
    cloud.pool.make_master(B)
    cloud.pool.take_down(B)
    for _ in range(2):
        assert failure_of(lambda: driver.observe(vm)) is not None
        assert [(one.open, one.reopened) for one in driver.connections()] == [(0, 0)]
    cloud.pool.bring_up(B)
    assert driver.observe(vm).storage == NFS
    assert [(one.open, one.reopened) for one in driver.connections()] == [(1, 1)]


def test_another_host_is_asked_when_the_master_is_away(cloud: Cloud) -> None:
    vm, driver = cloud.vm(host=B), cloud.driver()
    driver.observe(vm)
    cloud.pool.take_down(A)
    assert failure_of(lambda: driver.observe(vm)) is not None  # nobody is master yet
    cloud.pool.make_master(B)
    assert driver.observe(vm).storage == NFS
    assert [(one.open, one.reopened) for one in driver.connections()] == [(1, 1)]
    cloud.pool.bring_up(A)


def test_a_host_that_boots_is_waited_for(cloud: Cloud) -> None:
    vm, driver = cloud.vm(), cloud.driver()
    with cloud.pool.booting(A):
        error = error_of(driver.observe, vm)
    assert error.code is TransientCode.HOST_UNREACHABLE
    assert "HOST_STILL_BOOTING" in error.detail
    driver.observe(vm)


def test_a_call_that_hangs_is_given_up_and_its_late_answer_is_nobody_s(cloud: Cloud) -> None:
    vm, driver = cloud.vm(), cloud.driver(timeout=2.0)
    before = driver.observe(vm)
    cloud.pool.faults.delay("VM.get_record", 3600)  # longer than any test may take
    assert error_of(driver.observe, vm).code is TransientCode.HOST_UNREACHABLE
    cloud.pool.faults.clear()  # and now it answers
    assert driver.observe(vm) == before


# --- TLS and the password ---------------------------------------------------------------------------------------------


@pytest.fixture
def stranger(tmp_path: Path) -> XapiPool:
    """A pool whose authority nobody here knows."""
    return XapiPool(tmp_path / "stranger", (A,), addresses=("127.0.0.7",))


@pytest.mark.parametrize("by", ["fingerprint", "authority"])
def test_the_system_s_authorities_are_read_only_where_they_are_asked(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.delattr(ssl.SSLContext, "load_default_certs")
    hosts: dict[str, dict[str, object]] = {host.name: {"fingerprint": host.fingerprint} for host in cloud.pool.hosts}
    driver = cloud.driver(hosts, ca_file=None) if by == "fingerprint" else cloud.driver()
    give(driver, vm := cloud.vm())
    assert driver.observe(vm).images


@pytest.mark.parametrize("tls", ["wrong fingerprint", "wrong authority", "wrong name", "the system's authorities"])
def test_whoever_cannot_prove_who_he_is_gets_no_password(cloud: Cloud, stranger: XapiPool, tls: str) -> None:
    vm = cloud.vm()
    hosts: dict[str, dict[str, object]] = {}
    pool: dict[str, Any] = {"ca_file": None}
    if tls == "wrong fingerprint":
        hosts = {host.name: {"fingerprint": stranger.hosts[0].fingerprint} for host in cloud.pool.hosts}
    elif tls == "wrong authority":
        pool = {"ca_file": str(stranger.ca)}
    elif tls == "wrong name":  # the certificate is for the address, not for this name of it
        hosts = {A: {"url": f"https://localhost:{cloud.pool.port}"}}
        pool = {}
    error = error_of(cloud.driver(hosts, **pool).observe, vm)
    assert error.code is PermanentCode.ACCESS_DENIED
    assert cloud.pool.calls[LOGIN] == 0


def test_turning_verification_off_works_and_is_warned_of(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    driver = cloud.driver(ca_file=None, verify_tls=False)
    assert "verify_tls = false" in caplog.text
    assert driver.observe(cloud.vm()).storage == NFS
    assert any(not finding.ok and "not verified" in finding.detail for finding in driver.check(A))


@pytest.mark.parametrize(
    ("pool", "code"),
    [
        ({"password": "wrong-swordfish"}, PermanentCode.ACCESS_DENIED),
        ({"ca_file": "/nowhere/ca.pem"}, PermanentCode.MISCONFIGURED),
    ],
)
def test_wrong_credentials_are_reported_and_not_shown(cloud: Cloud, pool: dict[str, Any], code: Code) -> None:
    error = error_of(lambda: cloud.driver(**pool).observe(cloud.vm()))
    assert error.code is code
    assert "swordfish" not in repr((error, error.__cause__, error.__context__))


def test_no_error_tells_a_session_or_the_password(cloud: Cloud) -> None:
    vm, driver = cloud.vm(), cloud.driver()
    driver.observe(vm)
    sessions = list(cloud.pool.world.db.find("session"))
    said = []
    for method in ("VM.get_record", "VBD.get_all_records_where"):
        for description in (("SESSION_INVALID", sessions[0]), ("INTERNAL_ERROR", "x"), ("HANDLE_INVALID", "VM", "y")):
            cloud.pool.faults.fail(method, *description, times=4)
            said.append(repr(failure_of(lambda: driver.observe(vm))))
            cloud.pool.faults.clear()
    assert not any(secret in text for text in said for secret in (*sessions, cloud.pool.password))
