"""The state machine of a drive: the table of `lifecycle.transitions`, and a diagram made by asking `transition`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from configdrive.contract.events import Apply, LifecycleEvent, MigratePhase, parse
from configdrive.contract.guest_data import GuestData
from configdrive.lifecycle.state import ImageRecord, Phase, VmState
from configdrive.lifecycle.transitions import transition
from configdrive.model import Generation, HostName, HypervisorName, InstanceName, Vm, VmUuid
from docs.generated.source import table_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_UUID: Final = "6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10"
_VM: Final = Vm(VmUuid(_UUID), InstanceName("i-2-14-VM"), HypervisorName("kvm"), HostName("kvm-01"))
_GUEST: Final = GuestData.model_validate({"password": "correct horse"})
_NEW_LINE: Final = r"\n"
_TAKE_EVENTS: Final = (Phase.ABSENT, Phase.STAGED, Phase.ATTACHED)

_EVENTS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "deploy": ("deploy", {}),
    "deploy, start": ("deploy", {"start": True}),
    "start": ("start", {}),
    "stop": ("stop", {}),
    **{f"migrate, {phase}": ("migrate", {"phase": phase, "destination": "kvm-02"}) for phase in MigratePhase},
    "password_reset": ("password_reset", {}),
    "password_reset, now": ("password_reset", {"apply": Apply.NOW}),
    "update": ("update", {}),
    "update, now": ("update", {"apply": Apply.NOW}),
    "destroy": ("destroy", {}),
}


def markdown() -> str:
    """Return the diagram of the transitions, and their table."""
    diagram = f"```{{graphviz}}\n:alt: The transitions of the table below, as arrows between the phases\n\n{dot()}\n```"
    return f"{diagram}\n\n{table_of('configdrive.lifecycle.transitions')}"


def dot() -> str:
    """Return the diagram in Graphviz' language: the transitions that change the phase."""
    arrows: dict[tuple[Phase, Phase], list[str]] = {}
    for before, name, after in transitions():
        if before is not after:
            arrows.setdefault((before, after), []).append(name)
    phases = [f"  {phase} [label={phase.name}{' peripheries=2' if phase is Phase.GONE else ''}]" for phase in Phase]
    lines = [f'  {before} -> {after} [label="{_label(names)}"]' for (before, after), names in arrows.items()]
    return "\n".join(
        ("digraph drive {", "  nodesep=0.2 ranksep=0.3", "  node [shape=box style=rounded]", *phases, *lines, "}")
    )


def _label(names: Iterable[str]) -> str:
    """Return a line for each event, and one for what it depends on: wide pictures cannot be read on a phone."""
    return _NEW_LINE.join(names).replace(" (", _NEW_LINE + "(")


def transitions() -> Iterator[tuple[Phase, str, Phase]]:
    """Ask the state machine for every phase and event: the phase before, the event, and the phase after."""
    for phase in _TAKE_EVENTS:
        built = ImageRecord("vm.iso", Generation(1), datetime(2026, 1, 1, tzinfo=UTC).timestamp())
        image = None if phase is Phase.ABSENT else built
        known = VmState(_VM, sequence=1, phase=phase, image=image)
        for name, (word, data) in _EVENTS.items():
            event = _event(word, data)
            running, halted = (transition(known, event, _GUEST, live=live).state.phase for live in (True, False))
            if running is halted:
                yield phase, name, running
            else:
                yield phase, f"{name} (running VM)", running
                yield phase, f"{name} (VM that is off)", halted


def _event(word: str, data: dict[str, Any]) -> LifecycleEvent:
    needed = {"sequence": 2, "vm": {"uuid": _UUID, "instance_name": "i-2-14-VM"}, "hypervisor": "kvm", "host": "kvm-01"}
    content = {"guest": {"password": "correct horse"}} if word == "password_reset" else {}
    event = {"id": "1", "source": "docs", "type": f"configdrive.vm.{word}.v1", "data": needed | content | data}
    return parse(json.dumps({"specversion": "1.0", **event}))
