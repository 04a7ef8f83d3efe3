"""Carrying a plan out: a real Redis, real workers, the sweep of storages, all VMs' orchestrators, and the breaker."""

import json
import os
import random
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import redis
from typing_extensions import override

from configdrive.client.postings import Header
from configdrive.contract.outcome import Outcome, Status
from configdrive.errors import FleetError
from configdrive.model import EventKey, InstanceName, VmUuid
from rigs.cloud import Cloud, VmScript
from rigs.fleet import Fleet, Supervisor
from rigs.process import Daemon, RigError, core_files_on, wait_until
from rigs.redis import RedisServer
from rigs.simulated.spans import CHANGING, Span, spans_of
from rigs.worker import CONFIGDRIVE, Worker
from tasks.mailbox import OperatorAction
from tests.chaos import judge
from tests.chaos.model import Finding
from tests.chaos.orchestrators import Ground, Orchestrator
from tests.chaos.plan import CHILDREN, HOSTS, LOCAL, POOL, Life, Plan, Sent, Step
from tests.chaos.troubles import Breaker, Chronicle, Freeze, set_clock, wrong_clock
from tests.chaos.witness import Witness
from workers.hypervisors.simulated.topology import StorageSpec

SETTINGS: dict[str, Any] = {
    "concurrency": CHILDREN,
    "lease_seconds": 1.5,
    "wakeup_seconds": 0.5,
    "resend_seconds": 1.0,
    "backoff_seconds": 0.1,
    "backoff_most_seconds": 0.5,
    "leftover_seconds": 1.0,
    "orphan_seconds": 2.0,
    "call_seconds": 2.0,
    "task_seconds": 8.0,
    "attempts": 1000,
    "unclassified_attempts": 3,
}
"""So that a dead worker's VM goes on after two seconds, and patience never ends before the storm."""

LEASE_NS = int(SETTINGS["lease_seconds"] * 1e9)
_CAPACITY = 64 * 2**20
_OLD_AT_ONCE = 20
_FRESH = 5
_WARM = 2
QUEUE = "configdrive.simulated"


@dataclass
class Left:
    """What a storm has left, for the judge.

    Args:
        ends: the exit codes of the workers that were started again.
        swept: the images that the last round of the sweep deleted.
        excess: by how many messages Celery's list was longer, at most, than VMs were waiting; old wake-ups that the
            storm itself sent again are not counted.
        idle, fresh: seconds from publishing to the outcome of events of other VMs, before and right after the storm.
    """

    plan: Plan
    fleet: Fleet
    cloud: Cloud
    orchestrators: list[Orchestrator]
    findings: list[Finding]
    chronicle: Chronicle
    witness: Witness
    outcomes: list[Outcome] = field(default_factory=list)
    ends: list[int | None] = field(default_factory=list)
    swept: list[str] = field(default_factory=list)
    excess: int = 0
    idle: list[float] = field(default_factory=list)
    fresh: list[float] = field(default_factory=list)

    @property
    def freezes(self) -> list[Freeze]:
        """Who stood still when, by the breaker or by a fault within a verb."""
        of_faults = (Freeze((pid,), since, until) for pid, since, until in self.cloud.world.faults.freezes())
        return [*self.chronicle.freezes, *of_faults]

    def frozen(self, uuid: VmUuid, *, lately: bool) -> Iterator[Span]:
        """Yield the verbs for a VM within which a process stood still; `lately`: that has just gone on."""
        since = time.monotonic_ns() - LEASE_NS if lately else 0
        freezes = [freeze for freeze in self.freezes if freeze.until > since]
        spans = spans_of((entry for entry in self.cloud.audit() if entry.vm == uuid), CHANGING)[uuid]
        return (span for span in spans if judge.was_frozen(span, freezes, LEASE_NS))

    def died_unheard(self, uuid: VmUuid) -> bool:
        """Say whether one of those died before it could say that the VM is to be verified."""
        last = {(entry.pid, entry.thread): entry.tick for entry in self.cloud.audit()}
        return any(judge.died_unheard(span, last) for span in self.frozen(uuid, lately=False))

    seconds: float = 0.0


class Storm(Ground):
    """One storm.

    Args:
        plan: what happens.
        directory: where all of it lies; is made.
        environment: of the workers, beside their settings.
        patience: seconds after the end of the troubles for all lives to end.
    """

    def __init__(
        self, plan: Plan, directory: Path, *, environment: Mapping[str, str] | None = None, patience: float = 120.0
    ) -> None:
        self._plan = plan
        self._patience = patience
        hosts = {
            host: {POOL: StorageSpec(shared=True, capacity_bytes=_CAPACITY), LOCAL: StorageSpec()} for host in HOSTS
        }
        self._cloud = Cloud(
            directory / "world", hosts=hosts, auto_define=False, latency_ms=plan.latency_ms, audit=True, keep=True
        )
        self.world = self._cloud.world
        self._fleet = Fleet(
            directory,
            self._cloud.inventory,
            workers=0,
            redis=RedisServer(directory / "redis", appendfsync="always"),
            settings=SETTINGS,
        )
        more = {**self._fleet.environment, "LD_PRELOAD": str(wrong_clock()), **(environment or {})}
        self._fleet.workers += [
            Worker(directory, f"worker-{number}", more, options=["--pool", pool])
            for number, pool in enumerate(plan.pools, 1)
        ]
        self._sweeper = Daemon([CONFIGDRIVE, "sweep", "--every", "3"], directory / "sweep.log", self._fleet.environment)
        orchestrators = [Orchestrator(life, self) for life in plan.lives]
        self._of = {life.uuid: orchestrator for life, orchestrator in zip(plan.lives, orchestrators, strict=True)}
        chronicle = Chronicle(directory / "chronicle")
        witness = Witness(self._fleet, directory / "events")
        self.left = Left(plan, self._fleet, self._cloud, orchestrators, [], chronicle, witness)
        self._headers: deque[Header] = deque(maxlen=500)
        self._again = 0
        self._sent_again = 0
        self.swept = False
        self._todo: list[tuple[Life, EventKey, Outcome, bool]] = []
        self._dice = random.Random(plan.seed)  # noqa: S311  # which old wake-ups come again

    def run(self) -> Left:
        """Let it rage, and wait until it has calmed down."""
        began = time.monotonic()
        with ExitStack() as stack:
            stack.enter_context(self._fleet.redis)
            stack.callback(self._end_workers)
            stack.enter_context(core_files_on())
            for worker in self._fleet.workers:
                set_clock(worker, 0)
            self._fleet.start_workers()
            self.left.chronicle.write("workers are ready")
            stack.callback(self._sweeper.stop)
            self._sweeper.start()
            self.left.chronicle.sweeps.add(self._sweeper.pid)
            self.left.idle += [self._time_of_fresh_event() for _ in range(_WARM + _FRESH)][_WARM:]
            self.left.ends = stack.enter_context(Supervisor(self._fleet.workers)).ends
            stack.enter_context(self.left.witness)
            breaker = Breaker(
                self._fleet, self._sweeper, self.world, self._plan.troubles, self.left.chronicle, self._old_again
            )
            breaker.start()
            try:
                self._live()
            finally:
                breaker.end()
            self.left.chronicle.write("all lives have ended")
            if breaker.error is not None:
                raise breaker.error
            self.left.fresh += [self._time_of_fresh_event() for _ in range(_FRESH)]
            self._calm_down()
            self.swept = True
            for one in self.left.orchestrators:
                if one.ended:
                    one.look()
            self.left.witness.look_at_redis()
            self.left.chronicle.write("all is calm")
        self.left.seconds = time.monotonic() - began
        return self.left

    # --- what orchestrators stand on ------------------------------------------------------------------------------

    @override
    def publish(self, life: Life, step: Step, event: dict[str, Any]) -> None:
        """Publish until it is stored: an orchestrator that got no answer says it again."""
        for number in range(2 if step.sent is Sent.TWICE else 1):
            accepted = self._patiently(lambda: self._post(life, step, event), f"event {event['id']} to be stored")
            if number and accepted:
                self.found(Finding("once", f"event {event['id']} was accepted twice", life.number))

    @override
    def decide(self, life: Life, event: EventKey, outcome: Outcome, *, skip: bool) -> None:
        """Say it, unless the event is not parked any more."""
        action = OperatorAction.SKIP if skip else OperatorAction.RETRY
        skipped = replace(outcome, status=Status.SKIPPED, at=time.time(), code=None, detail="", remedy="")
        self._patiently(
            lambda: self._fleet.mailbox.act(life.uuid, event, action, skipped if skip else None), "an operator"
        )

    @override
    def has_leftovers(self, life: Life) -> bool:
        """See whether anything of this VM is left on a host."""
        found = self._patiently(lambda: (self._fleet.mailbox.leftovers(QUEUE),), "the leftovers")[0]
        return any(life.uuid in uuids for uuids in found.values())

    @override
    def unverified(self, life: Life) -> bool:
        """See in Redis whether the VM is to be verified, and in the audit log whether somebody may still say so."""
        if self.left.died_unheard(life.uuid):
            return True
        doubts = () if self.swept else self._patiently(lambda: [self._fleet.mailbox.doubts(QUEUE)], "doubts")[0]
        if any(doubt.vm_uuid == life.uuid for doubt in doubts):
            return True
        return not self.swept and any(self.left.frozen(life.uuid, lately=True))

    @override
    def found(self, finding: Finding) -> None:
        """Keep it, and write it down where it happened."""
        self.left.findings.append(finding)
        self.left.chronicle.write(f"FOUND {finding}")

    # --- inside ---------------------------------------------------------------------------------------------------

    def _post(self, life: Life, step: Step, event: dict[str, Any]) -> bool:
        publisher = self._fleet.publisher
        if step.sent is Sent.STOLEN:
            event = {**event, "data": {**event["data"], "sealed": self._sealed_for_another(life, event)}}
            event["data"].pop("guest", None)
        posting = publisher.posting(event)
        self._headers.append(posting.header)
        if step.sent is Sent.MUTE:
            accepted = self._fleet.mailbox.put(posting).accepted
            self._fleet.lose_wakeup(posting.header)
            return accepted
        return publisher.publish(event).accepted

    def _sealed_for_another(self, life: Life, event: dict[str, Any]) -> str:
        other = next(other for other in self._plan.lives if other is not life)
        vm = {"uuid": other.uuid, "instance_name": other.name}
        posting = self._fleet.publisher.posting({**event, "data": {**event["data"], "vm": vm}})
        return str(json.loads(posting.body)["data"]["sealed"])

    def _patiently(self, ask: Any, what: str) -> Any:  # noqa: ANN401  # whatever is asked
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return ask()
            except (redis.RedisError, FleetError) as error:
                if time.monotonic() > deadline or isinstance(error, FleetError):
                    raise
                self.left.chronicle.write(f"no answer for {what}: {type(error).__name__}")
                time.sleep(0.05)

    def _live(self) -> None:
        began, position = time.monotonic(), self._fleet.mailbox.end_of_outcomes()
        unborn = deque(self.left.orchestrators)
        deadline = began + self._plan.seconds + self._patience
        while not all(one.ended for one in self.left.orchestrators):
            while unborn and unborn[0].life.begins <= time.monotonic() - began:
                unborn.popleft().begin()
            for reached, outcome in self._new_outcomes(position):
                position = reached
                if outcome is None:
                    continue
                self.left.outcomes.append(outcome)
                self._of[outcome.vm_uuid].take(outcome)  # type: ignore[index]  # a uuid as text
            self._count_messages()
            while self._again:
                self._again -= 1
                self._patiently(self._send_old_wakeups, "old wake-ups")
            if time.monotonic() > deadline:
                for one in [one for one in self.left.orchestrators if not one.ended][:5]:
                    self.found(
                        Finding("ends", f"VM {one.life.uuid} has not come to its end: {one.where}", one.life.number)
                    )
                return

    def _new_outcomes(self, position: str) -> Iterator[tuple[str, Outcome | None]]:
        try:
            yield from list(self._fleet.mailbox.outcomes(position, 0.05))
        except redis.RedisError as error:
            self.left.chronicle.write(f"no outcomes: {type(error).__name__}")
            time.sleep(0.05)

    def _count_messages(self) -> None:
        """Note how many messages there are that no VM waits for."""
        with suppress(redis.RedisError), self._fleet.redis.client() as client:
            prefix = self._fleet.settings.key_prefix
            counts = client.pipeline().llen(f"{prefix}{QUEUE}").zcard(f"{prefix}due:{QUEUE}")
            messages, due, woken = counts.zcard(f"{prefix}wakeups:{QUEUE}").execute()
            self.left.excess = max(self.left.excess, messages - due - woken - self._sent_again)

    def _time_of_fresh_event(self) -> float:
        """Return how long an event of a VM takes that had no part in the storm; the VM is gone then."""
        vm = VmScript()
        self.world.define_vm(VmUuid(vm.uuid), InstanceName(vm.name), HOSTS[0], root_storage=POOL)
        began = time.monotonic()
        self._fleet.publisher.wait(self._fleet.publisher.publish(vm.event("deploy")), self._patience)
        seconds = time.monotonic() - began
        self._fleet.publisher.wait(self._fleet.publisher.publish(vm.event("destroy")), self._patience)
        self.world.destroy_vm(VmUuid(vm.uuid))
        return seconds

    def _send_old_wakeups(self) -> None:
        self._sent_again += _OLD_AT_ONCE
        for _ in range(_OLD_AT_ONCE):
            self._fleet.wake_again(self._dice.choice(self._headers))

    def _old_again(self) -> None:
        self._again += bool(self._headers)

    def _calm_down(self) -> None:
        """Let hosts that are back give up what they have, then sweep once more, as an operator does."""
        mailbox = self._fleet.mailbox
        try:
            wait_until(lambda: not mailbox.leftovers(QUEUE), "hosts to give up what they have", timeout=30)
            wait_until(lambda: not any(mailbox.pending().values()), "the mailboxes to be empty", timeout=30)
        except RigError as error:
            self.found(Finding("ends", f"{error}: {mailbox.leftovers('configdrive.simulated')} {mailbox.pending()}"))
        with suppress(RigError):  # what is not right yet, the judge finds
            wait_until(self._nobody_stands_still, "all to go on", timeout=15)
            wait_until(lambda: not mailbox.doubts(QUEUE), "VMs to be verified", timeout=15)
        self._sweeper.stop()
        done = subprocess.run(
            [CONFIGDRIVE, "sweep", "--json"],
            env={**os.environ, **self._fleet.environment},
            capture_output=True,
            check=False,
            timeout=600,
        )
        if done.returncode:
            self.found(Finding("sweep", f"the last sweep ended with {done.returncode}: {done.stderr[-500:]!r}"))
            return
        self.left.swept += [image["image"] for image in json.loads(done.stdout)["images"] if image["deleted"]]

    def _nobody_stands_still(self) -> bool:
        """Say whether everybody went on long enough ago to have said what is to be verified."""
        for worker in self._fleet.workers:
            for pid in worker.children():
                with suppress(FileNotFoundError, ProcessLookupError):
                    if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
                        return False
        return all(freeze.until < time.monotonic_ns() - LEASE_NS for freeze in self.left.freezes)

    def _end_workers(self) -> None:
        for worker in self._fleet.workers:
            worker.kill()
            worker.sweep_up()
