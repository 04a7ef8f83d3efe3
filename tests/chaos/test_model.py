"""The model, by the seed's work flow and the architecture's table; and plans, which a seed alone makes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from configdrive.contract.outcome import Outcome, Status
from configdrive.model import HostName, InstanceName, VmUuid
from tests.chaos.model import Content, Model, State, WrongError, in_order
from tests.chaos.plan import LOCAL, POOL, Kind, Life, Sent, Step
from tests.chaos.plan_from_seed import make_plan

H1, H2 = HostName("h1"), HostName("h2")
LIFE = Life(0, VmUuid("11111111-1111-4111-8111-111111111111"), InstanceName("i-2-0-VM"), H1, POOL, 0.0, ())
DEPLOY = Step("deploy", 1, {"start": False}, password="first", user_data="blue")


def model_after(model: Model, *steps: Step, status: Status = Status.APPLIED, code: str | None = None) -> Model:
    model.published += steps
    for step in steps:
        model.ended(step, Outcome("e", "/tests", step.kind, model.life.uuid, step.sequence, status, 0.0, code))
    return model


def test_a_password_lives_from_its_start_to_its_stop() -> None:
    model = model_after(Model(LIFE), DEPLOY)
    assert (model.state.generation, model.state.attached) == (1, False)
    model_after(model, Step("start", 2))
    assert model.contents == {1: Content("first", "blue"), 2: Content("first", "blue")}
    model_after(model, Step("password_reset", 3, {"apply": "next_start"}, password="second"), Step("stop", 4))
    assert model.state == State(H1, 4, known=True, pending="second", user_data="blue")
    model_after(model, Step("start", 5), Step("stop", 6, {"booted": False}))
    assert model.state.pending == "second"
    model_after(model, Step("start", 7), Step("stop", 8), Step("start", 9))
    assert model.contents[9] == Content(None, "blue")


def test_a_change_reaches_a_running_vm_at_once_where_that_was_asked_for() -> None:
    model = model_after(Model(LIFE), DEPLOY, Step("start", 2))
    model_after(model, Step("update", 3, {"apply": "now"}, user_data="green"))
    assert model.state.generation == 2
    model.on = True
    model_after(model, Step("update", 4, {"apply": "now"}))
    assert (model.state.generation, model.contents[4]) == (4, Content("first", "green"))
    model_after(model, Step("update", 5, {"apply": "next_start", "password_delivered": True}))
    assert (model.state.generation, model.contents[5]) == (5, Content(None, "green"))


def test_a_local_image_is_on_both_hosts_while_a_migration_is_prepared() -> None:
    move = {"host": "h1", "destination": H2}
    model = model_after(Model(replace(LIFE, root=LOCAL)), DEPLOY, Step("migrate", 2, {**move, "phase": "prepare"}))
    assert model.places == {H1, H2}
    model_after(model, Step("migrate", 3, {**move, "phase": "complete"}))
    assert model.places == {H2}
    model_after(model, Step("destroy", 4))
    assert (model.places, model.state.gone) == (set(), True)


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
    model = model_after(Model(LIFE), replace(DEPLOY, sequence=1))
    model.published += [step, *behind]
    with pytest.raises(WrongError, match=step.kind):
        model.ended(step, Outcome("e", "/tests", step.kind, LIFE.uuid, step.sequence, status, 0.0, code))


def test_ends_that_may_be() -> None:
    model = model_after(Model(LIFE), DEPLOY)
    start, stop = Step("start", 2, password="second"), Step("stop", 3)
    model.published += [start, stop]
    model.ended(start, Outcome("e", "/tests", "start", LIFE.uuid, 2, Status.DROPPED, 0.0, "superseded"))
    assert model.state.pending == "second"
    model.ended(stop, Outcome("f", "/tests", "stop", LIFE.uuid, 3, Status.APPLIED, 0.0, "host_unreachable"))
    model_after(model, Step("start", 4, skip=True), status=Status.SKIPPED)
    assert model.state.unsettled
    model_after(model, Step("destroy", 5))
    model_after(model, Step("start", 6), status=Status.DROPPED, code="vm_gone")
    unwanted = model_after(Model(replace(LIFE, wanted=False)), DEPLOY, status=Status.NOT_APPLICABLE)
    assert unwanted.places == set()


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
    assert {plan.pool for plan in plans} == {"prefork", "threads", "solo"}
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
