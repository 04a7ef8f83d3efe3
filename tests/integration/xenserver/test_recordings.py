"""The rig answers as xapi did, line by line; what deviates is listed here, with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rigs.xapi import XapiPool
from tests.integration.xenserver import recordings
from tests.integration.xenserver.stage import Stage

if TYPE_CHECKING:
    from pathlib import Path

_SIMULATED = "the recorded backend simulated the hypervisor and could not do it; a real one does"
_NO_EVENTS = "the rig has no events: nothing here waits for them"

DEVIATIONS: dict[str, dict[str, tuple[str, str]]] = {
    "iso-sr.txt": {
        "raw login unknown user": (
            "OK {'Status': 'Failure', 'ErrorDescription': ['SESSION_AUTHENTICATION_FAILED', 'nobody', 'System error']}",
            "the recorder's machine let anybody in whom it did not know",
        ),
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
        "VM.pool_migrate same/only host": ("OK ", _SIMULATED),
        "event.from": ("FAIL ['MESSAGE_METHOD_UNKNOWN', 'event.from']", _NO_EVENTS),
        "event.from2": ("FAIL ['MESSAGE_METHOD_UNKNOWN', 'event.from']", _NO_EVENTS),
    },
}
"""By file and label: what the rig answers, and why."""


def _played(name: str, folder: Path) -> list[recordings.Answer]:
    from tests.integration.xenserver import replay_disks, replay_iso, replay_pool, replay_vm  # noqa: PLC0415  # needs XenAPI

    play = {
        "disks.txt": replay_disks.play,
        "iso-sr.txt": replay_iso.play,
        "pool.txt": replay_pool.play,
        "vm.txt": replay_vm.play,
    }[name]
    hosts = ("xapi-A", "xapi-B") if name in {"disks.txt", "pool.txt"} else ("xapi-A",)
    with XapiPool(folder / "pool", hosts) as pool, Stage.open(pool) as stage:
        play(stage)
        return stage.played


@pytest.mark.parametrize("name", DEVIATIONS)
def test_recordings(name: str, tmp_path: Path) -> None:
    pytest.importorskip("XenAPI")
    recorded = recordings.read(name)
    played = _played(name, tmp_path)
    assert [answer.label for answer in played] == [answer.label for answer in recorded]
    comparison = recordings.Comparison()
    found = {
        theirs.label: f"{ours.status} {ours.value}"
        for theirs, ours in zip(recorded, played, strict=True)
        if not comparison.same(theirs, ours)
    }
    assert found == {label: answer for label, (answer, _) in DEVIATIONS[name].items()}
