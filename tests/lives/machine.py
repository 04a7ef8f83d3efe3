"""The machine that makes lives up, and runs any number of them from a seed."""

import sys
from collections.abc import Collection
from typing import Any

import hypothesis
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from typing_extensions import override

from configdrive.model import HostName, PowerState, StorageName, VmUuid
from tasks.mailbox import OperatorAction
from tests.integration.queue.lost_replies import Loss, lossy_pool
from tests.lives.interruptions import STOPPED, Mishap, Trouble
from tests.lives.life import HERE, Life
from tests.unit.documents import Json
from tests.unit.fakes.fleet import HOST_1, HOST_2, LOCAL, PRIMARY, SECOND, VM

PASSWORDS, TEXTS = ("sw0rdfish-one", "sw0rdfish-two"), ("marlin-user-data", "tarpon-user-data")
STEPS = 40
OLD_AGE = 8
"""Events after which a VM may be destroyed before its end: after that nothing much happens to it."""

AWAY = (HOST_1, HOST_2, PRIMARY, SECOND, LOCAL)
CLONE = VmUuid("c10e0000-1c2d-4e3f-8a9b-5c6d7e8f9a0b")

hosts = st.sampled_from([HOST_1, HOST_2])
roots = st.sampled_from([PRIMARY, SECOND, LOCAL])
guests = st.fixed_dictionaries(
    {},
    optional={"password": st.sampled_from(PASSWORDS), "user_data": st.sampled_from([{"text": text} for text in TEXTS])},
)
named = st.sampled_from([HERE] * 8 + [HOST_1, HOST_2, "host-9"]).map(lambda name: {"host": name})
"""The host that an event names, now and then a wrong one."""

named_or_not: st.SearchStrategy[Json] = st.just({"host": None}) | named
applies = st.sampled_from(["now", "next_start"])


Event = tuple[str, "Json"]
"""A word, and what it says."""


def _event(word: str, host: st.SearchStrategy[Json], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Event]:
    return st.tuples(st.just(word), st.builds(lambda one, more: one | more, host, st.fixed_dictionaries(fields)))


def _with_password(guest: Json) -> Json:
    return {"password": PASSWORDS[1]} | guest


def _without_password(guest: Json) -> Json:
    return {name: value for name, value in guest.items() if name != "password"}


words = st.one_of(
    _event("deploy", named, guest=guests),
    _event("start", named, guest=guests),
    _event("start", named, guest=guests),
    _event("stop", named_or_not, booted=st.booleans()),
    _event("password_reset", named_or_not, guest=guests.map(_with_password), apply=applies),
    _event("update", named_or_not, guest=guests.map(_without_password), apply=applies),
    _event("update", named_or_not, password_delivered=st.just(value=True)),
    _event(
        "migrate",
        named_or_not,
        phase=st.sampled_from(["prepare", "complete", "rollback"]),
        destination=st.sampled_from([HOST_1, HOST_2, HOST_2, "host-9"]),
    ),
)
"""What an orchestrator says, in any order."""

troubles = st.builds(Trouble, st.sampled_from(Mishap), st.integers(0, 30))
stopped = st.builds(
    Trouble, st.sampled_from(sorted(STOPPED)), st.integers(0, 30), st.lists(words, min_size=1, max_size=2).map(tuple)
)
maybe = st.none() | troubles | stopped
of_publishers = st.none() | st.builds(
    Trouble, st.sampled_from([Mishap.KILLED, Mishap.REPLY_LOST, Mishap.OVERTAKEN_BY_REPLY]), st.integers(0, 3)
)
back = st.sampled_from([-1] * 8 + [0, 1, 3, -4])
"""How far behind the newest sequence an event's is: repeated, reordered, or with a gap."""


class Lives(RuleBasedStateMachine):
    """One VM, its publishers, its workers, sweepers, operators, hosts, and time."""

    client: redis.Redis
    lossy: redis.Redis
    loss: Loss

    life: Life

    @initialize(root=roots, identities=st.booleans(), found=st.booleans())
    def begin(self, root: StorageName, *, identities: bool, found: bool) -> None:
        self.life = Life(self.client, self.lossy, self.loss, root=root, identities=identities, found=found)

    # --- those who send, and do not wait ---

    @rule(word=words, trouble=of_publishers, back=back)
    def publish(self, word: tuple[str, Json], trouble: Trouble | None, back: int) -> None:
        self.life.publish(*word, trouble, back=back)

    @precondition(lambda self: len(self.life.events) > OLD_AGE)
    @rule(host=named_or_not, trouble=of_publishers, back=back)
    def destroy(self, host: Json, trouble: Trouble | None, back: int) -> None:
        self.life.publish("destroy", host, trouble, back=back)

    @rule(word=words, trouble=troubles | stopped)
    def an_event_comes_and_its_worker_has_trouble(self, word: tuple[str, Json], trouble: Trouble) -> None:
        self.life.publish(*word)
        if self.life.wakeups:
            self.life.work(-1, trouble)

    @rule(
        word=st.sampled_from(["stop", "start"]),
        mishap=st.sampled_from([*sorted(STOPPED), Mishap.KILLED]),
        point=st.integers(0, 14),
    )
    def a_worker_stands_still_or_dies_and_the_vm_starts_again(self, word: str, mishap: Mishap, point: int) -> None:
        for before in ("start", word):
            self.life.publish(before, {"host": HERE})
            if self.life.wakeups:
                last = before == word
                self.life.work(-1, Trouble(mishap, point, (("start", {"host": HERE}),)) if last else None)

    @precondition(lambda self: VM in self.life.cloud.machines)
    @rule(word=st.sampled_from(["stop", "start"]))
    def the_host_is_away_over_an_event(self, word: str) -> None:
        host = self.life.cloud.machines[VM].host
        for before in ("start", word):
            self.life.publish(before, {"host": HERE})
            self.life.all_is_worked_on()
            self.life.cloud.down ^= {host}

    # --- those who work ---

    @precondition(lambda self: self.life.wakeups)
    @rule(which=st.integers(0, 5), trouble=maybe)
    def work(self, which: int, trouble: Trouble | None) -> None:
        self.life.work(which, trouble)

    @precondition(lambda self: self.life.unended)
    @rule(trouble=maybe)
    def another_worker_goes_on(self, trouble: Trouble | None) -> None:
        self.life.time_passes()
        self.life.wake_ups_are_sent()
        if self.life.wakeups:
            self.life.work(-1, trouble)

    @precondition(lambda self: self.life.wakeups)
    @rule(doubled=st.booleans())
    def a_wake_up_is_lost_or_doubled(self, *, doubled: bool) -> None:
        wakeup = self.life.take_wakeup(-1)
        self.life.doubled += [wakeup] * 2 if doubled else []

    @rule()
    def time_passes(self) -> None:
        self.life.time_passes()
        self.life.wake_ups_are_sent()

    @rule(trouble=maybe)
    def hosts_are_asked_and_vms_verified(self, trouble: Trouble | None) -> None:
        self.life.tidy_up(trouble)

    @rule(trouble=maybe)
    def storage_is_swept(self, trouble: Trouble | None) -> None:
        self.life.sweep_storage(trouble)

    @precondition(lambda self: self.life.unended)
    @rule(action=st.sampled_from([OperatorAction.RETRY, OperatorAction.SKIP]))
    def an_operator_acts(self, action: OperatorAction) -> None:
        self.life.act(action)

    @precondition(lambda self: self.life.asked.known)
    @rule(back=st.sampled_from([0, 1, 3, -5]))
    def an_operator_sets_the_counter(self, back: int) -> None:
        self.life.set_counter(back)

    @precondition(lambda self: len(self.life.events) > OLD_AGE // 2)
    @rule()
    def redis_is_lost(self) -> None:
        self.life.redis_is_lost()

    # --- the world ---

    @rule(zone=st.sampled_from([None, "north"]))
    def the_vm_changes_its_zone(self, zone: str | None) -> None:
        self.life.zone = zone

    @rule(power=st.sampled_from([PowerState.RUNNING, PowerState.HALTED]))
    def the_guest_boots_or_ends(self, power: PowerState) -> None:
        self.life.power(power)

    @rule(host=hosts, remains=st.booleans(), restarted=st.booleans())
    def the_vm_moves(self, host: HostName, *, remains: bool, restarted: bool) -> None:
        self.life.moves(host, remains=remains, restarted=restarted)

    @precondition(lambda self: VM in self.life.cloud.machines)
    @rule(root=roots)
    def the_root_disk_moves(self, root: StorageName) -> None:
        self.life.cloud.machines[VM].root = root

    @rule(host=hosts, root=roots)
    def the_vm_is_undefined_or_defined(self, host: HostName, root: StorageName) -> None:
        if VM in self.life.cloud.machines:
            self.life.is_undefined()
        elif host in self.life.cloud.hosts:
            self.life.is_defined(host, root)

    @rule()
    def the_vm_is_cloned(self) -> None:
        self.life.is_cloned(CLONE)

    @rule(what=st.sampled_from(AWAY))
    def a_host_or_storage_goes_away_or_comes_back(self, what: HostName | StorageName) -> None:
        self.life.cloud.down ^= {what}

    @precondition(lambda self: len(self.life.cloud.hosts) > 1 and len(self.life.events) > OLD_AGE)
    @rule()
    def a_host_goes_for_good(self) -> None:
        self.life.goes_for_good(HOST_2)

    # --- what must be ---

    @invariant()
    def all_is_as_it_must_be(self) -> None:
        if hasattr(self, "life"):
            self.life.check()

    @override
    def teardown(self) -> None:
        """Whatever its life was: all that can come to an end does, and a destroy leaves nothing of the VM."""
        life = getattr(self, "life", None)
        if life is None or sys.exc_info()[0] is not None:
            return
        life.comes_to_rest()
        life.publish("destroy", {"host": None} if life.asked.known else {})
        life.comes_to_rest()
        assert life.unended == []
        assert len(life.ended) == len(set(life.ended)) == len(life.events) - life.lost
        life.sweep_storage(None)
        unknown = {one.medium for one in life.own if one.host not in life.named}
        assert {stored.name.vm_uuid for stored in life.cloud.files if stored not in unknown} == {
            life.neighbour.name.vm_uuid
        }
        assert all(one.medium is None for one in life.own if one.host in life.named)
        assert life.secrets_at_rest(*PASSWORDS, *TEXTS) == []
        life.forget()


def run_lives(
    url: str, count: int, seed: int | None = None, *, shrink: bool = False, rules: Collection[str] = ()
) -> None:
    """Let so many lives be lived; without a seed always the same ones.

    Args:
        url: of a database that is theirs alone.
        count, seed: how many, and which.
        shrink: look for a shorter one, when one was found that did not go as it must.
        rules: names of those that are made use of, when not all are.

    Raises:
        AssertionError: one of them did not go as it must.
    """
    loss = Loss()
    pool = lossy_pool(url, loss)
    phases = [Phase.generate, *([Phase.shrink] if shrink else [])]
    chosen = settings(
        max_examples=count,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        derandomize=seed is None,
        phases=phases,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    with redis.Redis.from_url(url, socket_timeout=60) as client, redis.Redis(connection_pool=pool) as lossy:
        every = {one.function.__name__ for one in Lives.setup_state().rules}
        assert every.issuperset(rules), "the rules have other names"
        unused = dict.fromkeys(every.difference(rules) if rules else ())
        machine = type("Lives", (Lives,), {"client": client, "lossy": lossy, "loss": loss} | unused)
        seeded = machine if seed is None else hypothesis.seed(seed)(machine)
        run_state_machine_as_test(seeded, settings=chosen)
    pool.disconnect()
