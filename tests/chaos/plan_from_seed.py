"""From a seed to a plan: random lives, most of them as an orchestrator leads them, and random troubles. Pure."""

import uuid
from collections.abc import Sequence
from random import Random
from typing import Any

from configdrive.errors import PermanentCode, TransientCode
from configdrive.model import HostName, InstanceName, VmUuid
from rigs.simulated.faults import Fault, Freeze, Hang, Kill, Point, Raise
from tests.chaos.plan import (
    HOSTS,
    LOCAL,
    POOL,
    Act,
    Chapter,
    Kind,
    Life,
    Plan,
    Sent,
    Step,
    Trouble,
    secret_password,
    secret_user_data,
)
from workers.hypervisors.simulated.inventory import Verb

LIVES_PER_SECOND = 16

_LASTING = 4
"""How many times as long as lives begin things go wrong: on two busy cores, lives take that long to end."""

_WORKERS = 3
_POOLS = ("prefork", "prefork", "prefork", "threads", "solo")

# How often a second, and the longest time it lasts.
_TROUBLES: dict[Kind, tuple[float, float]] = {
    Kind.KILL_CHILD: (0.8, 0),
    Kind.CRASH_CHILD: (0.1, 0),
    Kind.KILL_MAIN: (0.03, 0),
    Kind.KILL_ALL: (0.02, 0),
    Kind.TERM_MAIN: (0.03, 0),
    Kind.STOP_CHILD: (0.3, 4),
    Kind.STOP_ALL: (0.1, 4),
    Kind.REDIS_RESTART: (0.04, 0),
    Kind.REDIS_KILL: (0.06, 1),
    Kind.REDIS_PAUSE: (0.06, 3),
    Kind.REDIS_FULL: (0.05, 1.5),
    Kind.REDIS_CUT: (0.3, 0),
    Kind.KILL_SWEEP: (0.03, 0),
    Kind.STOP_SWEEP: (0.1, 4),
    Kind.HOST_AWAY: (0.15, 3),
    Kind.STORAGE_AWAY: (0.08, 2),
    Kind.STORAGE_FULL: (0.1, 2),
    Kind.LOSE_WAKE_UPS: (1.0, 0),
    Kind.OLD_WAKE_UPS: (0.6, 0),
    Kind.CLOCK: (0.2, 0),
}
_STILL = (2.0, 3.0, 5.0)
"""Seconds for which a process stands still within a verb: longer than its lease, until some later event."""

_CLOCKS = (-86_400.0, -3600.0, -5.0, 0.0, 5.0, 3600.0, 3 * 86_400.0)
_VERBS = (Verb.OBSERVE, Verb.OBSERVE, Verb.UPLOAD, Verb.ATTACH, Verb.DETACH, Verb.DELETE, Verb.COPY)
_PASSING = (
    TransientCode.HOST_UNREACHABLE,
    TransientCode.STORAGE_UNAVAILABLE,
    TransientCode.STORAGE_FULL,
    TransientCode.VM_BUSY,
    TransientCode.HYPERVISOR_ERROR,
)


def make_plan(seed: int, seconds: float) -> Plan:
    """Return the one plan of this seed and length (seconds in which lives begin and things go wrong)."""
    dice = Random(f"{seed} {seconds:g}")  # noqa: S311  # chaos, no cryptography
    pool, latency_ms = dice.choice(_POOLS), dice.choice((0, 2, 10))
    count = max(1, round(LIVES_PER_SECOND * seconds))
    lives = tuple(_Fate(dice, number, seconds * number / count).life() for number in range(count))
    return Plan(seed, seconds, (pool,) * _WORKERS, latency_ms, lives, tuple(_troubles(dice, _LASTING * seconds)))


def _troubles(dice: Random, seconds: float) -> list[Trouble]:
    found = []
    for kind, (rate, longest) in _TROUBLES.items():
        at = dice.expovariate(rate)
        while at < seconds:
            lasts = dice.choice(_CLOCKS) if kind is Kind.CLOCK else dice.uniform(longest / 4, longest)
            found.append(Trouble(at, kind, dice.randrange(1000), lasts))
            at += max(dice.expovariate(rate), lasts if kind is not Kind.CLOCK else 0.0)
    return sorted(found, key=lambda trouble: trouble.at)


class _Fate:
    """One VM's. What it knows of the VM is what becomes of it when all goes well; the deeds look for themselves."""

    def __init__(self, dice: Random, number: int, begins: float) -> None:
        self._dice = dice
        self._number = number
        self._begins = begins
        self._uuid = VmUuid(str(uuid.UUID(int=dice.getrandbits(128), version=4)))
        self._host = dice.choice(HOSTS)
        self._root = POOL if dice.random() < 0.6 else LOCAL
        self._sequence = 0
        self._on = False
        self._wanted = dice.random() < 0.95
        self._enabled = dice.random() < 0.95

    def life(self) -> Life:
        dice, host = self._dice, self._host
        defined = dice.random() < 0.95
        chapters = [self._stranger()] if not defined else []
        chapters.append(self._deploy())
        for _ in range(dice.randint(1, 6)):
            chapters += self._chapters()
        if dice.random() < 0.7:
            chapters += self._end()
        else:
            chapters.append(self._settle())
        return Life(
            number=self._number,
            uuid=self._uuid,
            name=InstanceName(f"i-2-{self._number}-vm"),
            host=host,
            root=self._root,
            begins=self._begins,
            chapters=tuple(chapters),
            defined=defined,
            wanted=self._wanted,
            password_enabled=self._enabled,
            as_disk=dice.random() < 0.15,
        )

    # --- chapters -------------------------------------------------------------------------------------------------

    def _chapters(self) -> list[Chapter]:
        dice = self._dice
        choices = [self._stop, self._burst, self._burst, self._change, self._change, self._migrate]
        choices += [self._noise] if self._wanted else []  # or a wrong host would be remembered
        choices += [self._fail_over] if self._on else [self._boot, self._boot, self._boot]
        return dice.choice(choices)()

    def _deploy(self) -> Chapter:
        start = self._dice.random() < 0.3
        data: dict[str, Any] = {"host": self._host, "password_enabled": self._enabled, "start": start}
        provider = "ConfigDrive" if self._wanted else "VirtualRouter"
        data["network_offering"] = {"services": {"UserData": [provider]} if self._wanted else {"Dns": [provider]}}
        return Chapter((self._step("deploy", data, password=0.6, user_data=0.8),))

    def _stranger(self) -> Chapter:
        """The hypervisor does not know the VM; a person gives the event up, and it is defined."""
        return Chapter((self._step("start", {"host": self._host}, skip=True, faults=False),), after=(Act.DEFINE,))

    def _boot(self) -> list[Chapter]:
        self._on = True
        after = (Act.POWER_ON, Act.LOCK_TRAY) if self._dice.random() < 0.3 else (Act.POWER_ON,)
        step = self._step("start", {"host": self._host}, password=0.2, user_data=0.2, skip=self._dice.random() < 0.3)
        return [Chapter((step,), after=after)]

    def _stop(self) -> list[Chapter]:
        self._on = False
        step = self._step("stop", self._maybe_host() | {"booted": self._dice.random() < 0.8})
        stop = Chapter((step,), before=(Act.POWER_OFF,) if self._dice.random() < 0.8 else ())
        return [stop, self._deploy()] if self._dice.random() < 0.15 and stop.before else [stop]

    def _settle(self) -> Chapter:
        kind = self._dice.choice(("start", "stop"))
        share = 0.3 if kind == "start" else 0.0
        step = self._step(kind, {"host": self._host}, password=share, user_data=share)
        return Chapter((step,), after=(Act.POWER_ON,))

    def _change(self) -> list[Chapter]:
        return [Chapter((self._content_step(),))]

    def _content_step(self) -> Step:
        dice = self._dice
        data = self._maybe_host() | {"apply": dice.choice(("now", "next_start"))}
        skip = dice.random() < 0.3
        if dice.random() < 0.5:
            return self._step("password_reset", data, password=1, skip=skip)
        if dice.random() < 0.3:
            data["password_delivered"] = True
        return self._step("update", data, user_data=0.8, skip=skip)

    def _burst(self) -> list[Chapter]:
        """Events faster than they are worked on, some of them twice: what is pointless by then may be left out."""
        steps = []
        for _ in range(self._dice.randint(2, 6)):
            kind = self._dice.choice(("start", "start", "stop", "content"))
            if kind == "content":
                steps.append(self._content_step())
            else:
                share = 0.3 if kind == "start" else 0.0
                steps.append(self._step(kind, {"host": self._host}, password=share, user_data=share))
        self._on = False
        return [Chapter(tuple(steps), after=(Act.POWER_ON,) if self._dice.random() < 0.5 else ())]

    def _migrate(self) -> list[Chapter]:
        source, destination = self._host, self._other_host()
        data = {"host": source, "destination": destination}
        prepare = self._step("migrate", {**data, "phase": "prepare"})
        moved = self._dice.random() < 0.75
        phase = "complete" if moved else "rollback"
        arrived = self._step("migrate", {**data, "phase": phase})
        if moved:
            self._host = destination
        return [Chapter((prepare,), after=(Act.MOVE,) if moved else (), to=destination), Chapter((arrived,))]

    def _fail_over(self) -> list[Chapter]:
        self._host = self._other_host()
        step = self._step("start", {"host": self._host})
        return [Chapter((step,), before=(Act.POWER_OFF, Act.MOVE), after=(Act.POWER_ON,), to=self._host)]

    def _noise(self) -> list[Chapter]:
        """What an orchestrator should not send."""
        dice = self._dice
        match dice.randrange(4):
            case 0:
                step = self._step("start", {"host": self._other_host()}, password=0.5, skip=True, faults=False)
            case 1:
                step = self._step("start", {"host": "no-such-host"}, user_data=1, skip=True, faults=False)
            case 2:
                step = self._step("update", {}, user_data=1, sent=Sent.STOLEN, skip=True, faults=False)
            case _:
                return [Chapter((self._step("start", {"host": self._host}, password=1, stale=True, faults=False),))]
        return [Chapter((step,))]

    def _end(self) -> list[Chapter]:
        dice = self._dice
        before = (Act.POWER_OFF, Act.UNDEFINE) if dice.random() < 0.5 else (Act.POWER_OFF,)
        overtaken = [self._step("start", {"host": self._host}, password=1)] if dice.random() < 0.4 else []
        steps = [*overtaken, self._step("destroy", self._maybe_host())]
        chapters = [Chapter(tuple(steps), before=before, after=(Act.UNDEFINE,))]
        if dice.random() < 0.3:
            chapters.append(Chapter((self._step("start", {"host": self._host}, password=1, faults=False),)))
        return chapters

    # --- steps ----------------------------------------------------------------------------------------------------

    def _step(  # noqa: PLR0913  # all that is left to chance
        self,
        kind: str,
        data: dict[str, Any],
        *,
        password: float = 0.0,
        user_data: float = 0.0,
        sent: Sent | None = None,
        skip: bool = False,
        faults: bool = True,
        stale: bool = False,
    ) -> Step:
        dice = self._dice
        self._sequence += dice.choice((1, 1, 1, 10))
        sequence = 0 if stale else self._sequence
        ways = [Sent.WOKEN] * 8 + [Sent.MUTE, Sent.TWICE]
        return Step(
            kind,
            sequence,
            data,
            secret_password(self._uuid, self._sequence) if dice.random() < password else None,
            secret_user_data(self._uuid, self._sequence) if dice.random() < user_data else None,
            sent or dice.choice(ways),
            tuple(self._faults()) if faults else (),
            skip,
        )

    def _maybe_host(self) -> dict[str, Any]:
        return {"host": self._host} if self._dice.random() < 0.7 else {}

    def _other_host(self) -> HostName:
        return self._dice.choice([host for host in HOSTS if host != self._host])

    def _faults(self) -> Sequence[Fault]:
        dice, vm = self._dice, self._uuid
        where: dict[str, Any] = {"verb": dice.choice(_VERBS), "vm": vm}
        points = list(Point) if where["verb"] in {Verb.UPLOAD, Verb.COPY} else [Point.BEFORE, Point.AFTER]
        where["when"] = dice.choice(points)
        match dice.random():
            case chance if chance < 0.12:
                return [Raise(**where, code=dice.choice(_PASSING), times=dice.choice((1, 1, 2, 4)))]
            case chance if chance < 0.15:
                return [Raise(**where, code=PermanentCode.ACCESS_DENIED)]
            case chance if chance < 0.22:
                return [Hang(**where, seconds=dice.choice((0.1, 0.3, 0.9, 3.0)))]
            case chance if chance < 0.26:
                return [Kill(**where, times=dice.choice((1, 1, 3)))]
            case chance if chance < 0.32:
                return [Freeze(**where, seconds=dice.choice(_STILL))]
            case _:
                return []
