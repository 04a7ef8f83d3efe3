"""The model refuses what must not be (that it takes what may be, every storm shows); and a seed alone makes a plan."""

import pytest

from configdrive.contract.outcome import Outcome, Status
from configdrive.model import HostName, InstanceName, VmUuid
from tests.chaos.model import Model, WrongError, in_order
from tests.chaos.plan import MIXED, POOL, Kind, Life, Sent, Step
from tests.chaos.plan_from_seed import make_plan

ONE = VmUuid("11111111-1111-4111-8111-111111111111")
LIFE = Life(0, ONE, InstanceName("i-2-0-VM"), HostName("h1"), POOL, 0.0, ())
DEPLOY = Step("deploy", 1, {"start": False}, password="first", user_data="blue")


@pytest.mark.parametrize(
    ("step", "behind", "status", "code"),
    [
        (Step("start", 0), (), Status.APPLIED, None),  # stale
        (Step("start", 2), (), Status.DROPPED, "superseded"),  # by nothing
        (Step("update", 5), (Step("stop", 3),), Status.DROPPED, "superseded"),  # by a stop that is older
        (Step("start", 2), (), Status.SKIPPED, None),  # nobody said so
        (Step("start", 2), (), Status.NOT_APPLICABLE, None),
        (Step("start", 2), (), Status.REJECTED, "invalid_event"),
        (Step("start", 2), (), Status.APPLIED, "host_unreachable"),
        (Step("update", 2, sent=Sent.STOLEN), (), Status.APPLIED, None),
    ],
)
def test_an_end_that_must_not_be_is_found(
    step: Step, behind: tuple[Step, ...], status: Status, code: str | None
) -> None:
    model = Model(LIFE, [DEPLOY, step, *behind])
    model.ended(DEPLOY, Outcome("d", "/tests", "deploy", LIFE.uuid, 1, Status.APPLIED, 0.0))
    with pytest.raises(WrongError, match=step.kind):
        model.ended(step, Outcome("e", "/tests", step.kind, LIFE.uuid, step.sequence, status, 0.0, code))


def test_order() -> None:
    assert in_order("abc", "xaybzc")
    assert not in_order("abc", "acb")
    assert not in_order("abc", "ab")


def test_a_seed_makes_always_the_same_plan_and_another_seed_another() -> None:
    assert make_plan(7, 5) == make_plan(7, 5)
    assert make_plan(7, 5) != make_plan(8, 5)


def test_twenty_seeds_leave_nothing_out() -> None:
    plans = [make_plan(seed, 5) for seed in range(1, 21)]
    assert {trouble.kind for plan in plans for trouble in plan.troubles} == set(Kind)
    assert {pool for plan in plans for pool in plan.pools} == set(MIXED)
    steps = [step for plan in plans for life in plan.lives for chapter in life.chapters for step in chapter.steps]
    assert {step.kind for step in steps} == {
        "deploy",
        "start",
        "stop",
        "migrate",
        "password_reset",
        "update",
        "destroy",
    }
    assert {step.sent for step in steps} == set(Sent)
    assert len(steps) > 10_000
    uuids = [life.uuid for plan in plans for life in plan.lives]
    assert len(uuids) == len(set(uuids))
