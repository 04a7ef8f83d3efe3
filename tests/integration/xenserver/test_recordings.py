"""The rig answers as xapi did, line by line; what deviates is listed here, with the reason."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rigs.xapi import XapiPool
from tests.integration.xenserver import recordings
from tests.integration.xenserver.recordings import Answer, Comparison
from tests.integration.xenserver.replays import PLAYS
from tests.integration.xenserver.stage import Stage
from tests.support import wait_until

_SIMULATED = "the recorded backend simulated the hypervisor and could not do it; a real one does"
_NO_EVENTS = "the rig has no events: nothing here waits for them"
_NO_ASYNC = "the rig has no asynchronous calls: nothing here makes one"

DEVIATIONS: dict[str, dict[str, tuple[str, str]]] = {
    "iso-sr.txt": {
        "raw login unknown user": (
            "OK {'Status': 'Failure', 'ErrorDescription': ['SESSION_AUTHENTICATION_FAILED', 'nobody', 'System error']}",
            "the recorder's machine let anybody in whom it did not know",
        ),
        "PUT no session, basic auth": (
            "OK ('ConnectionResetError', '[Errno 104] Connection reset by peer', 'task', 'pending', [], 0.0, '')",
            "the rig takes no passwords there: nothing here gives any",
        ),
        "Async.VBD.insert": ("FAIL ['MESSAGE_METHOD_UNKNOWN', 'Async.VBD.insert']", _NO_ASYNC),
        "Async.VBD.insert again -> task error": ("FAIL ['MESSAGE_METHOD_UNKNOWN', 'Async.VBD.insert']", _NO_ASYNC),
        "VM.pause": ("OK ", _SIMULATED),
        "unpause": ("OK ", "follows from VM.pause"),
    },
    "disks.txt": {
        "PV_drivers_detected": (
            "FAIL ['MESSAGE_METHOD_UNKNOWN', 'VM_guest_metrics.get_PV_drivers_detected']",
            "the rig has no guests that say what they run: a VM is made with drivers or without",
        ),
    },
    "pool.txt": {
        "pool_migrate to B with shared ISO": ("OK ", _SIMULATED),
        "pool_migrate empty CD": ("OK ", _SIMULATED),
    },
    "vm.txt": {
        "Async.SR.scan + task": ("FAIL ['MESSAGE_METHOD_UNKNOWN', 'Async.SR.scan']", _NO_ASYNC),
        "VM.pool_migrate same/only host": ("OK ", _SIMULATED),
        "event.from": ("FAIL ['MESSAGE_METHOD_UNKNOWN', 'event.from']", _NO_EVENTS),
        "event.from2": ("FAIL ['MESSAGE_METHOD_UNKNOWN', 'event.from']", _NO_EVENTS),
    },
}
"""By file and label: what the rig answers, and why."""


@pytest.mark.parametrize("name", DEVIATIONS)
def test_recordings(name: str, tmp_path: Path) -> None:
    recorded = recordings.read(name)
    hosts = ("xapi-A", "xapi-B") if name in {"disks.txt", "pool.txt"} else ("xapi-A",)
    with XapiPool(tmp_path / "pool", hosts) as pool, Stage.open(pool) as stage:
        PLAYS[name](stage)
    assert [answer.label for answer in stage.played] == [answer.label for answer in recorded]
    comparison = Comparison()
    found = {
        theirs.label: f"{ours.status} {ours.value}"
        for theirs, ours in zip(recorded, stage.played, strict=True)
        if not comparison.same(theirs, ours)
    }
    assert found == {label: answer for label, (answer, _) in DEVIATIONS[name].items()}


ONE, TWO = "OpaqueRef:11111111-1111-1111-1111-111111111111", "OpaqueRef:22222222-2222-2222-2222-222222222222"


@pytest.mark.parametrize(
    ("recorded", "played"),
    [
        (f"['VDI_IN_USE', '{ONE}', '{ONE}']", f"['VDI_IN_USE', '{ONE}', '{TWO}']"),
        (f"['VDI_IN_USE', '{ONE}', '{TWO}']", f"['VDI_IN_USE', '{ONE}', '{ONE}']"),
        ("{'shared': False}", "{'shared': 'False'}"),
        ("{'shared': False}", "{'shared': False, 'type': 'iso'}"),
        ("['attach', 'insert']", "['insert', 'attach']"),
        ("", "None"),
        (ONE, ""),
        ("{'uuid': '', 'size': '1048576', 'name_la", "{'uuid': '', 'size': 1048576, 'name_label': ''}"),
    ],
)
def test_another_answer_is_seen_and_a_reference_stands_for_one_throughout(recorded: str, played: str) -> None:
    assert not Comparison().same(Answer("OK", "", recorded), Answer("OK", "", played))
    assert Comparison().same(Answer("OK", "", recorded), Answer("OK", "", recorded))
    assert not Comparison().same(Answer("OK", "", recorded), Answer("FAIL", "", recorded))


@pytest.mark.parametrize("waits", [None, (0.0, 0.01)])
def test_one_at_a_time_is_at_a_storage(tmp_path: Path, waits: tuple[float, float] | None) -> None:
    """Whoever comes second waits until it is free, or as with a real one a while at random."""
    with XapiPool(tmp_path / "pool") as pool, Stage.open(pool) as stage, ThreadPoolExecutor(1) as threads:
        stage.folder(pool.hosts[0], "/srv/isos")
        sr = stage.iso_sr({"location": "/srv/isos", "legacy_mode": "true"})
        pool.exclusion.waits = waits
        with pool.exclusion.alone(sr, pool.faults.wait):
            late = threads.submit(stage.vdi, sr, "a.iso")
            wait_until(lambda: pool.exclusion.conflicts > 0, "the second to come", timeout=10)
            assert not late.done()
        assert late.result(600)
