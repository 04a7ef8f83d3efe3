"""What a test can plant in the rig happens, once or as often as it was planted, and to nobody else."""

from __future__ import annotations

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


def test_the_client_library_sends_a_dropped_call_again(stage: Stage, image: str) -> None:
    """Once, whatever the call does: the rig shows what that leads to, as a real xapi does."""
    stage.pool.faults.drop("VDI.destroy")
    with pytest.raises(Failure) as failure:
        stage.master("VDI.destroy", image)
    assert failure.value.details == ["HANDLE_INVALID", "VDI", image]
    assert stage.pool.calls["VDI.destroy"] == 2


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
