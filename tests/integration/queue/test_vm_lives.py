"""Any life of a VM over the real store, whatever dies in the middle of it: it comes to what an undisturbed one does.

Between any two effects a worker may be killed, lose a reply or be overtaken; its lease runs out and another goes on.
After each step the scripts' invariants are checked on the raw keys (`rigs.invariants`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis
from hypothesis import settings
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

from configdrive.model import PowerState
from tasks.mailbox import OperatorAction
from tests.integration.queue.interruptions import Mishap, Trouble
from tests.integration.queue.lost_replies import Loss, lossy_pool
from tests.integration.queue.vm_life import Life
from tests.unit.documents import OTHER_UUID
from tests.unit.fakes.fleet import LOCAL, PRIMARY, VM

if TYPE_CHECKING:
    from configdrive.model import StorageName
    from rigs.redis import RedisServer
    from tests.unit.documents import Json

PASSWORD, USER_DATA = "sw0rdfish-one", "marlin-user-data"
EXAMPLES = settings().max_examples // 5

guests: list[Json] = [{}, {"guest": {"password": PASSWORD}}, {"guest": {"user_data": {"text": USER_DATA}}}]
words = st.sampled_from(
    [
        *(("deploy", guest) for guest in guests),
        *(("start", guest) for guest in guests),
        *(("stop", more) for more in ({}, {"booted": False})),
        *(("password_reset", {"guest": {"password": PASSWORD}, "apply": apply}) for apply in ("now", "next_start")),
        *(("update", guests[2] | {"apply": apply}) for apply in ("now", "next_start")),
        ("update", {"password_delivered": True}),
        ("migrate", {"phase": "prepare", "host": None}),
        ("migrate", {"phase": "rollback", "host": None}),
    ]
)
troubles = st.builds(Trouble, st.sampled_from(Mishap), st.integers(0, 30))
maybe = st.none() | troubles
of_publishers = st.none() | st.builds(
    Trouble, st.sampled_from([Mishap.KILLED, Mishap.REPLY_LOST, Mishap.OVERTAKEN_BY_REPLY]), st.integers(0, 3)
)
OLD_AGE = 10
"""Events after which a VM may be destroyed before its end: after that nothing much happens to it."""


class Lives(RuleBasedStateMachine):
    """One VM, its publishers, its workers, sweepers, operators, and time."""

    client: redis.Redis
    lossy: redis.Redis
    loss: Loss

    life: Life

    @initialize(root=st.sampled_from([PRIMARY, LOCAL]))
    def begin(self, root: StorageName) -> None:
        self.life = Life(self.client, self.lossy, self.loss, root)

    @rule(word=words, trouble=of_publishers)
    def publish(self, word: tuple[str, Json], trouble: Trouble | None) -> None:
        self.life.publish(*word, trouble)

    @precondition(lambda self: len(self.life.events) > OLD_AGE)
    @rule(trouble=of_publishers)
    def destroy(self, trouble: Trouble | None) -> None:
        self.life.publish("destroy", {}, trouble)

    @rule(word=words, trouble=troubles)
    def an_event_comes_and_its_worker_has_trouble(self, word: tuple[str, Json], trouble: Trouble) -> None:
        self.life.publish(*word)
        if self.life.wakeups:
            self.life.work(-1, trouble)

    @precondition(lambda self: self.life.wakeups)
    @rule(which=st.integers(0, 5), trouble=maybe)
    def work(self, which: int, trouble: Trouble | None) -> None:
        self.life.work(which, trouble)

    @precondition(lambda self: self.life.unended)
    @rule(trouble=maybe)
    def another_worker_goes_on(self, trouble: Trouble | None) -> None:
        self.time_passes()
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

    @precondition(lambda self: self.life.unended)
    @rule(action=st.sampled_from([OperatorAction.RETRY, OperatorAction.RETRY, OperatorAction.SKIP]))
    def an_operator_acts(self, action: OperatorAction) -> None:
        self.life.act(action)

    @rule(trouble=maybe)
    def storage_is_swept(self, trouble: Trouble | None) -> None:
        self.life.sweep_storage(trouble)

    @precondition(lambda self: self.life.quiet)
    @rule(power=st.sampled_from([PowerState.RUNNING, PowerState.HALTED]))
    def the_guest_boots_or_ends(self, power: PowerState) -> None:
        self.life.power(power)

    @invariant()
    def all_is_as_it_must_be(self) -> None:
        self.life.check()

    @override
    def teardown(self) -> None:
        """Whatever its life was: what waits comes to an end, and a destroy leaves nothing of the VM."""
        life = getattr(self, "life", None)
        if life is None:
            return
        life.publish("destroy", {})
        for _ in range(4 * len(life.unended) + 4):
            life.time_passes()
            life.wake_ups_are_sent()
            while life.wakeups:
                life.work(0, None)
        assert life.unended == []
        life.time_passes()
        life.sweep_storage(None)
        life.check()
        assert {stored.name.vm_uuid for stored in life.cloud.files} == {OTHER_UUID}
        assert life.cloud.machines[VM].medium is None
        assert life.secrets_at_rest(PASSWORD, USER_DATA) == []
        self.client.delete(*self.client.keys(f"{life.store.prefix}*"))


@pytest.mark.timeout(900)  # ten seconds of work; thousands of round trips on a loaded machine
def test_any_life_comes_to_what_an_undisturbed_one_does(empty: redis.Redis, redis_server: RedisServer) -> None:
    loss = Loss()
    pool = lossy_pool(redis_server.url.removesuffix("/0") + "/1", loss)
    with redis.Redis(connection_pool=pool) as lossy:
        members: dict[str, Any] = {"client": empty, "lossy": lossy, "loss": loss}
        machine = type("Lives", (Lives,), members)
        run_state_machine_as_test(machine, settings=settings(max_examples=EXAMPLES, stateful_step_count=40))
    pool.disconnect()
