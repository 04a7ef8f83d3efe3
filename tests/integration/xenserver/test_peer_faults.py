"""What a test can plant in the rig happens, once or as often as it was planted, and to nobody else."""

from __future__ import annotations

import xmlrpc.client
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from rigs.xapi import XapiPool
from rigs.xapi.faults import IMPORT
from tests.integration.xenserver.client import Failure
from tests.integration.xenserver.stage import Stage
from tests.support import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOT_PAUSED = (False, False)
BROKEN = r"closed connection|reset by peer|EOF occurred"
SIZE = 1 << 20
CONTENT = bytes(range(256)) * (SIZE // 256)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with XapiPool(tmp_path / "pool") as pool, Stage.open(pool) as stage:
        yield stage


@pytest.fixture
def image(stage: Stage) -> str:
    stage.folder(stage.pool.hosts[0], "/srv/isos")
    return stage.vdi(stage.iso_sr({"location": "/srv/isos", "legacy_mode": "true"}), "a.iso", size=SIZE)


def test_a_call_fails_as_often_as_planted(stage: Stage) -> None:
    stage.pool.faults.fail("VM.get_all", "SR_BACKEND_FAILURE_40", "", "busy", "", times=2)
    for _ in range(2):
        with pytest.raises(Failure) as failure:
            stage.master("VM.get_all")
        assert failure.value.details == ["SR_BACKEND_FAILURE_40", "", "busy", ""]
    assert len(stage.master("VM.get_all")) == 1


def test_another_call_is_not_met(stage: Stage) -> None:
    stage.pool.faults.fail("VM.get_all", "INTERNAL_ERROR", times=None)
    assert stage.master("host.get_all") == [stage.host]
    stage.pool.faults.clear()
    assert len(stage.master("VM.get_all")) == 1


def test_a_dropped_call_has_had_its_effect(stage: Stage, image: str) -> None:
    stage.pool.faults.drop("VDI.destroy", times=2)
    with pytest.raises(OSError, match=BROKEN):
        stage.master("VDI.destroy", image)
    assert stage.master("VDI.get_all") == []


def test_the_client_library_sends_a_dropped_call_again(stage: Stage, image: str) -> None:
    """Once, whatever the call does: the rig shows what that leads to, as a real xapi does."""
    stage.pool.faults.drop("VDI.destroy")
    with pytest.raises(Failure) as failure:
        stage.master("VDI.destroy", image)
    assert failure.value.details == ["HANDLE_INVALID", "VDI", image]
    assert stage.pool.calls["VDI.destroy"] == 2


def test_a_call_dropped_before_has_had_none(stage: Stage, image: str) -> None:
    stage.pool.faults.drop("VDI.destroy", after_effect=False, times=2)
    with pytest.raises(OSError, match=BROKEN):
        stage.master("VDI.destroy", image)
    assert stage.master("VDI.get_all") == [image]


def test_a_slow_call_holds_up_no_other(stage: Stage) -> None:
    vm = stage.vm()
    stage.pool.faults.delay("VM.start", 1.0)
    with ThreadPoolExecutor(1) as threads, stage.client(stage.pool.hosts[0]) as other:
        starting = threads.submit(other, "VM.start", vm, *NOT_PAUSED)
        wait_until(lambda: stage.pool.calls["VM.start"], "the start's begin", timeout=10)
        assert stage.master("VM.get_power_state", vm) == "Halted"
        assert not starting.done()
        starting.result(timeout=10)
    assert stage.master("VM.get_power_state", vm) == "Running"


def test_a_slow_task_is_pending_meanwhile(stage: Stage) -> None:
    vm = stage.vm()
    stage.pool.faults.delay("Async.VM.start", 0.5)
    task = stage.master("Async.VM.start", vm, *NOT_PAUSED)
    assert stage.master("task.get_status", task) == "pending"
    wait_until(lambda: stage.master("task.get_status", task) == "success", "the start", timeout=10)
    assert stage.master("VM.get_power_state", vm) == "Running"


def test_a_task_fails(stage: Stage) -> None:
    stage.pool.faults.fail("Async.VM.start", "HOST_NOT_ENOUGH_FREE_MEMORY", "1", "0")
    task = stage.master("Async.VM.start", stage.vm(), *NOT_PAUSED)
    wait_until(lambda: stage.master("task.get_status", task) == "failure", "the failure", timeout=10)
    assert stage.master("task.get_error_info", task) == ["HOST_NOT_ENOUGH_FREE_MEMORY", "1", "0"]


def test_an_import_answers_200_and_fails_in_its_task(stage: Stage, image: str) -> None:
    stage.pool.faults.fail(IMPORT, "SR_BACKEND_FAILURE_44", "", "no space", "")
    task = stage.master("task.create", "import", "")
    status, *_, state, error, _, _ = stage.master.put(CONTENT, vdi=image, task=task)
    assert (status, state, error) == (200, "failure", ["SR_BACKEND_FAILURE_44", "", "no space", ""])


def test_an_import_breaks_off_after_half(stage: Stage, image: str) -> None:
    stage.pool.faults.drop(IMPORT)
    task = stage.master("task.create", "import", "")
    state = stage.master.put(CONTENT * 24, vdi=image, task=task)[-4:-2]
    assert state == ("failure", ["VDI_IO_ERROR", "Device I/O errors"])
    stage.pool.faults.drop(IMPORT)
    task = stage.master("task.create", "import", "")
    state = stage.master.put(CONTENT, vdi=image, task=task)[-4:-2]
    assert state == ("failure", ["INTERNAL_ERROR", 'Unix.Unix_error(Unix.EPIPE, "single_write", "")'])


def test_an_import_is_pending_until_it_has_ended(stage: Stage, image: str) -> None:
    stage.pool.faults.delay(IMPORT, 1.0)
    task = stage.master("task.create", "import", "")
    with ThreadPoolExecutor(1) as threads, stage.client(stage.pool.hosts[0]) as other:
        sending = threads.submit(other.put, CONTENT, vdi=image)
        wait_until(lambda: stage.master("VDI.get_VBDs", image), "the import's begin", timeout=10)
        with pytest.raises(Failure) as failure:
            stage.master("VDI.destroy", image)
        sending.result(timeout=10)
    assert failure.value.details == ["VDI_IN_USE", image, "destroy"]
    wait_until(lambda: not stage.master("VDI.get_VBDs", image), "the import's end", timeout=10)
    assert stage.master("task.get_status", task) == "pending"


def test_an_import_can_be_cancelled(stage: Stage, image: str) -> None:
    client = stage.master
    task = client("task.create", "import", "")
    target = f"/import_raw_vdi?session_id={client.session}&vdi={image}&format=raw&task_id={task}"
    with client.ask(target, SIZE) as (response, body):
        assert response.status == 200
        body.sendall(CONTENT[: SIZE // 2])
        client("task.cancel", task)
        with suppress(OSError):  # it may notice in the middle of what it has got
            body.sendall(CONTENT[SIZE // 2 :])
        wait_until(lambda: client("task.get_status", task) == "cancelled", "the end", timeout=10)
    assert client("task.get_error_info", task) == ["TASK_CANCELLED", task]


def test_sessions_end(stage: Stage) -> None:
    assert stage.pool.sessions == 1
    assert stage.pool.expire_sessions() == 1
    with pytest.raises(Failure) as failure:
        stage.master("VM.get_all")
    assert failure.value.details == ["SESSION_INVALID", stage.master.session]
    stage.master.login(stage.pool.user, stage.pool.password)
    assert stage.pool.sessions == 1
    stage.master("session.logout")
    assert stage.pool.sessions == 0


def test_connections_break_and_new_ones_are_taken(stage: Stage) -> None:
    connection = stage.master.connect()
    connection.request("POST", "/", xmlrpc.client.dumps((stage.master.session,), "VM.get_all"))
    assert b"Success" in connection.getresponse().read()
    kept = connection.sock
    assert kept is not None
    stage.pool.break_connections()
    assert kept.recv(1) == b""
    connection.close()
    with stage.client(stage.pool.hosts[0]) as client:
        assert len(client("VM.get_all")) == 1


def test_calls_are_counted(stage: Stage) -> None:
    stage.pool.calls.clear()
    stage.master("VM.get_all")
    stage.master("VM.get_all")
    stage.pool.call("VM.get_all")
    assert dict(stage.pool.calls) == {"VM.get_all": 2}
