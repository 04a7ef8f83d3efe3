"""The orchestrator of one VM: publishes a chapter's events, waits for how they end, and looks before it goes on."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from configdrive.contract.outcome import Outcome
from configdrive.model import EventKey
from rigs.cloud import key_of, plain
from rigs.simulated.driver import RiggedWorld
from rigs.simulated.world import LivelyWorld
from tests.chaos.model import Finding, Model, WrongError, unlike
from tests.chaos.plan import Act, Life, Step
from workers.hypervisors.simulated.drives import CD
from workers.hypervisors.simulated.world import WorldError

MOST_PARKINGS = 20
EMPTY, IMAGES = "empty drive", "images"
_MENDED = frozenset({EMPTY, IMAGES})
"""Of these checks, what is found may be what a worker did that stood still, until the VM is verified."""


class Ground(Protocol):
    """What an orchestrator stands on."""

    world: RiggedWorld

    def publish(self, life: Life, step: Step, event: dict[str, Any]) -> None:
        """Have an event stored and a worker woken, or not, as the step says."""

    def decide(self, life: Life, event: EventKey, outcome: Outcome, *, skip: bool) -> None:
        """Have a person speak on a parked event."""

    def has_leftovers(self, life: Life) -> bool:
        """Say whether something is left on a host that was away."""

    def unverified(self, life: Life) -> bool:
        """Say whether a worker stood still within a step for this VM, and the fleet cannot have mended that yet."""

    def found(self, finding: Finding) -> None:
        """Take note of something wrong."""


@dataclass
class Orchestrator:
    """One VM's."""

    life: Life
    ground: Ground
    model: Model = field(init=False)
    chapter: int = -1
    waiting: dict[EventKey, Step] = field(default_factory=dict)
    ids: list[EventKey] = field(default_factory=list)
    parkings: dict[EventKey, int] = field(default_factory=dict)
    since: float = 0.0
    left_behind: bool = False
    _faults: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model = Model(self.life)

    @property
    def ended(self) -> bool:
        """Whether its last event has ended."""
        return self.chapter >= len(self.life.chapters)

    @property
    def where(self) -> str:
        """Where in its life it is."""
        return f"chapter {self.chapter + 1} of {len(self.life.chapters)}, waits for " + (
            ", ".join(f"{step.kind} #{step.sequence}" for step in self.waiting.values()) or "nothing"
        )

    def begin(self) -> None:
        """Come into the world, and send the first events."""
        if self.life.defined:
            self._define()
        self._next()

    def take(self, outcome: Outcome) -> None:
        """Take in how one of its events ended; after the last of a chapter, look, and go on."""
        event = outcome.key
        step = self.waiting.get(event)
        if step is None:
            self._wrong("one end", f"event {event} ended again: {outcome.status} {outcome.code}")
            return
        if not outcome.final:
            self._parked(event, step, outcome)
            return
        del self.waiting[event]
        self.left_behind |= "left_behind" in outcome.facts
        try:
            self.model.ended(step, outcome)
        except WrongError as error:
            self._wrong("model", str(error))
        if not self.waiting:
            self._clear_faults()
            self.look()
            for act in self.life.chapters[self.chapter].after:
                self._do(act)
            self._next()

    def look(self) -> None:
        """See that the VM has what the model says, and nothing else."""
        if self.left_behind and self.ground.has_leftovers(self.life):
            return
        self._judge(self._wrong_now)

    def _judge(self, look: Callable[[], Iterable[tuple[str, str]]]) -> None:
        """Report what a look finds wrong, but not what is to be mended still."""
        wrong = list(look())
        excused = bool(wrong) and self.ground.unverified(self.life)
        for check, what in look() if wrong else ():  # it may have been mended just now
            if not excused or check not in _MENDED:
                self._wrong(check, what)

    def _wrong_now(self) -> Iterator[tuple[str, str]]:
        """Say what is not as the model has it."""
        state, record, world = self.model.state, self.ground.world.vm(self.life.uuid), self.ground.world
        media = {} if record is None else {**record.config, **(record.live if record.active else {})}
        names = {plain(medium.file) for medium in media.values() if medium is not None}
        files = sorted(_placed(world, self.life))
        if state.unsettled:
            return
        name = None if state.generation is None else self._image(state.generation)
        wanted = {name} if state.attached and record is not None else set()
        if names != wanted:
            what = f"has {sorted(names)} in its drives, not {sorted(map(str, wanted))}"
            yield "drive" if names else EMPTY, what
        expected = sorted((place, str(name)) for place in map(str, self.model.places))
        if files != expected:
            yield IMAGES, f"has the images {files}, not {expected}"
        if names and names == wanted:
            yield from self._read()

    # --- inside ---------------------------------------------------------------------------------------------------

    def _next(self) -> None:
        self.chapter += 1
        if self.ended:
            return
        chapter = self.life.chapters[self.chapter]
        for act in chapter.before:
            self._do(act)
        self.since = time.monotonic()
        for step in chapter.steps:
            self._faults += [self.ground.world.faults.inject(fault) for fault in step.faults]
        events = []
        for number, planned in enumerate(chapter.steps):
            step = self._as_it_came(planned)
            event = self._event(step, number)
            self.waiting[key_of(event)] = step
            self.ids.append(key_of(event))
            self.model.published.append(step)
            events.append((step, event))
        for step, event in events:
            self.ground.publish(self.life, step, event)

    def _as_it_came(self, step: Step) -> Step:
        """A migration that was to complete, of a VM that did not move, is rolled back."""
        record = self.ground.world.vm(self.life.uuid)
        if step.data.get("phase") != "complete" or (record is not None and record.host == step.data["destination"]):
            return step
        return Step(step.kind, step.sequence, {**step.data, "phase": "rollback"}, sent=step.sent, faults=step.faults)

    def _event(self, step: Step, number: int) -> dict[str, Any]:
        guest: dict[str, Any] = {}
        if step.password is not None:
            guest["password"] = step.password
        if step.user_data is not None:
            guest["user_data"] = {"text": step.user_data}
        data = {
            "sequence": step.sequence,
            "vm": {"uuid": self.life.uuid, "instance_name": self.life.name},
            "hypervisor": "simulated",
            **step.data,
        }
        if self.life.as_disk:
            data["presentation"] = "disk"
        return {
            "specversion": "1.0",
            "id": f"{self.life.number}.{self.chapter}.{number}.{step.kind}",
            "source": "/chaos",
            "type": f"configdrive.vm.{step.kind}.v1",
            "data": {**data, "guest": guest} if guest else data,
        }

    def _parked(self, event: EventKey, step: Step, outcome: Outcome) -> None:
        self.parkings[event] = self.parkings.get(event, 0) + 1
        if outcome.detail.startswith("an unforeseen") or self.parkings[event] > MOST_PARKINGS:
            self._wrong("parked", f"{step.kind} #{step.sequence} is parked: {outcome.code}: {outcome.detail}")
        self.ground.decide(self.life, event, outcome, skip=step.skip)

    def _do(self, act: Act) -> None:
        """Do something to the VM itself, if it is in a state for it."""
        state, on = self.model.state, self.model.on
        bootable = state.attached and not on and not state.unsettled
        possible = {Act.POWER_ON: bootable, Act.LOCK_TRAY: on, Act.MOVE: not state.gone}
        defined = self.ground.world.vm(self.life.uuid) is not None
        if not possible.get(act, True) or defined is (act is Act.DEFINE):
            return
        try:
            self._deed(act)
        except WorldError as error:
            if not (self.left_behind or state.unsettled):
                self._wrong("world", f"the hypervisor refuses to {act}: {error}")
            return
        if act in {Act.POWER_ON, Act.POWER_OFF, Act.UNDEFINE}:
            self.model.on = act is Act.POWER_ON
        if act is Act.POWER_ON:
            self._judge(self._read)

    def _deed(self, act: Act) -> None:
        world, uuid = self.ground.world, self.life.uuid
        match act:
            case Act.DEFINE:
                self._define()
            case Act.POWER_ON:
                world.start_vm(uuid)
            case Act.POWER_OFF:
                world.stop_vm(uuid)
            case Act.LOCK_TRAY:
                world.lock_tray(uuid)
            case Act.UNDEFINE:
                world.destroy_vm(uuid)
            case Act.MOVE:
                to = self.life.chapters[self.chapter].to
                assert to is not None
                world.migrate_vm(uuid, to)

    def _define(self) -> None:
        drives = {} if self.life.as_disk else {CD: None}
        self.ground.world.define_vm(
            self.life.uuid, self.life.name, self.life.host, root_storage=self.life.root, drives=drives
        )

    def _read(self) -> Iterator[tuple[str, str]]:
        """Read the drive as the guest does; says what is wrong with it."""
        state, world = self.model.state, self.ground.world
        try:
            found = world.medium(self.life.uuid)
        except WorldError as error:
            yield "drive", f"cannot read its drive: {error}"
            return
        if found is None:
            yield EMPTY, "its drive is empty"
            return
        wanted = self.model.contents.get(state.generation or -1)
        for problem in unlike(found, wanted, self.life):
            yield "content", f"finds on its drive of generation {state.generation} {problem}"

    def _image(self, generation: int) -> str:
        return f"{self.life.name}.{self.life.uuid}.{generation}.iso"

    def _clear_faults(self) -> None:
        for path in self._faults:
            path.unlink(missing_ok=True)
        self._faults.clear()

    def _wrong(self, check: str, what: str) -> None:
        self.ground.found(Finding(check, what, self.life.number, f"chapter {self.chapter + 1}"))


def _placed(world: LivelyWorld, life: Life) -> Iterable[tuple[str, str]]:
    """Give every file of a VM with the host on whose storage it lies (`None`: the shared one)."""
    for path in world.files():
        if life.uuid in path.name:
            yield (path.parents[2].name if path.parents[3].name == "hosts" else "None"), plain(path.name)
