"""The judge can condemn: each check on data in which one thing is wrong, and on the same without it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configdrive.contract.outcome import Outcome, Status
from configdrive.model import HostName, InstanceName, VmUuid
from rigs.simulated.audit import Entry, Mark
from rigs.simulated.spans import CHANGING, Span, spans_of
from tests.chaos import judge
from tests.chaos.findings import unlike
from tests.chaos.model import Content, Model, State
from tests.chaos.plan import POOL, Life, secret_password, secret_user_data
from tests.chaos.troubles import Freeze
from tests.e2e.known_secrets import b64

ONE, OTHER = VmUuid("11111111-1111-4111-8111-111111111111"), VmUuid("22222222-2222-4222-8222-222222222222")
LIFE = Life(0, ONE, InstanceName("i-2-0-VM"), HostName("h1"), POOL, 0.0, ())


def image(generation: int, uuid: VmUuid = ONE) -> str:
    return f"i-2-0-vm.{uuid}.{generation}.iso"


def attached(name: str, tick: int = 1, verb: str = "attach", vm: str = ONE) -> Entry:
    after: dict[str, object] = {"host": "h1", "power": "halted", "live": {}, "config": {"hdd": f"pool/{name}"}}
    return Entry(0.0, tick, 1, 1, verb, Mark.CHANGE, vm, after=after)


def outcome(event: str, status: Status = Status.APPLIED) -> Outcome:
    return Outcome(event, "/tests", "start", ONE, 1, status, 0.0)


def checks(findings: Any) -> list[str]:  # noqa: ANN401  # what a check yields
    return [finding.check for finding in findings]


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        ("ab", []),
        ("pab", []),  # parked, and tried again
        ("a", ["one end", "order"]),  # lost
        ("abb", ["one end", "order"]),  # done twice
        ("ba", ["order"]),
        ("abx", ["one end"]),  # nobody's
    ],
)
def test_each_event_has_one_end_in_order(seen: str, found: list[str]) -> None:
    outcomes = [outcome("a", Status.PARKED) if event == "p" else outcome(event) for event in seen]
    assert checks(judge.one_end_each({ONE: [outcome("a").key, outcome("b").key]}, outcomes)) == found


def test_another_vms_image_in_a_drive_is_found_whoever_put_it_there() -> None:
    assert checks(judge.own_drives_only([attached(image(1)), attached(image(2))])) == []
    assert checks(judge.own_drives_only([attached(image(1, OTHER))])) == ["own drive"]
    assert checks(judge.own_drives_only([attached(image(1, OTHER), verb="world.insert")])) == ["own drive"]


def test_an_older_image_after_a_newer_one_is_found() -> None:
    assert checks(judge.own_drives_only([attached(image(2)), attached(image(1))])) == ["own drive"]


def test_content_that_is_not_the_vms_own_is_found(tmp_path: Path) -> None:
    model = Model(LIFE)
    model.contents[1] = Content(secret_password(ONE, 1), secret_user_data(ONE, 1))
    good = f'{{"uuid": "{ONE}"}}{secret_password(ONE, 1)}{secret_user_data(ONE, 1)}'.encode()
    assert list(unlike(good, model.contents[1], LIFE)) == []
    kept = tmp_path / f"{image(1)}.77"
    for wrong in (
        good + secret_password(OTHER, 1).encode(),  # in what a buffer had before, for instance
        good.replace(secret_password(ONE, 1).encode(), b""),
        good.replace(secret_user_data(ONE, 1).encode(), secret_user_data(ONE, 2).encode()),
        good.replace(f'"{ONE}"'.encode(), f'"{OTHER}"'.encode()),
    ):
        kept.write_bytes(wrong)
        assert checks(judge.right_content([kept], {ONE: model})) == ["content"]
    kept.write_bytes(good)
    assert checks(judge.right_content([kept], {ONE: model})) == []
    assert checks(judge.right_content([kept.rename(tmp_path / f"{image(2)}.77")], {ONE: model})) == ["content"]
    assert checks(judge.right_content([tmp_path / "stranger.iso.77"], {ONE: model})) == ["content"]


def verb(mark: Mark, tick: int, pid: int, name: str = "upload") -> Entry:
    return Entry(0.0, tick, pid, 1, name, mark, ONE)


def test_spans_end_with_the_last_line_of_a_killed_process() -> None:
    entries = [
        verb(Mark.BEGIN, 10, 1),
        verb(Mark.CHANGE, 12, 1),
        verb(Mark.BEGIN, 20, 2),
        verb(Mark.END, 25, 2),
        verb(Mark.BEGIN, 26, 2, "attach"),
        verb(Mark.BEGIN, 30, 2, "observe"),
    ]
    assert spans_of(entries, CHANGING) == {
        ONE: [Span("upload", 10, 12, 1, 1), Span("upload", 20, 25, 2, 1), Span("attach", 26, 26, 2, 1)]
    }


@pytest.mark.parametrize(
    ("first", "second", "freezes", "found"),
    [
        (Span("attach", 0, 10, 1, 1), Span("detach", 10, 20, 2, 1), [], []),
        (Span("attach", 0, 10, 1, 1), Span("detach", 5, 20, 2, 1), [], ["overlap"]),
        (Span("attach", 0, 10, 1, 1), Span("detach", 5, 20, 1, 2), [], ["overlap"]),  # two threads
        (Span("attach", 0, 900, 1, 1), Span("detach", 500, 600, 2, 1), [], []),  # it hung for longer than its lease
        (Span("attach", 0, 90, 1, 1), Span("detach", 50, 60, 2, 1), [Freeze((1,), -90, 30)], []),
        (Span("attach", 0, 90, 1, 1), Span("detach", 50, 60, 2, 1), [Freeze((2,), -60, 30)], []),
        (Span("attach", 0, 90, 1, 1), Span("detach", 50, 60, 2, 1), [Freeze((3,), -90, 30)], ["overlap"]),
        (Span("attach", 0, 90, 1, 1), Span("detach", 50, 60, 2, 1), [Freeze((1,), -20, 10)], ["overlap"]),  # too short
    ],
)
def test_two_at_one_vm_are_found(first: Span, second: Span, freezes: list[Freeze], found: list[str]) -> None:
    assert checks(judge.no_overlap({ONE: [first, second]}, freezes, 100)) == found


@pytest.mark.parametrize("kind", ["mail", "body", "due", "parked", "left", "verify", "dead", "orphans"])
def test_what_still_waits_is_found(kind: str) -> None:
    assert checks(judge.nothing_waits({f"{kind}:x": ["1"], "outcomes": []})) == ["at rest"]


def test_a_lease_that_is_left_is_found() -> None:
    assert checks(judge.nothing_waits({f"vm:{ONE}": {"state": "", "epoch": "3"}})) == []
    assert checks(judge.nothing_waits({f"vm:{ONE}": {"state": "", "owner": "x"}})) == ["at rest"]


def test_what_a_destroyed_vm_has_left_is_found() -> None:
    tombstone = {f"vm:{ONE}": {"state": '{"phase":"gone"}'}, f"vm:{OTHER}": {"state": '{"sealed":{"pending":"v1."}}'}}
    assert checks(judge.nothing_of([ONE], tombstone, [image(1, OTHER)])) == []
    assert checks(judge.nothing_of([OTHER], tombstone, [])) == ["gone"]
    assert checks(judge.nothing_of([ONE], tombstone | {f"mail:{ONE}": ["x"]}, [])) == ["gone"]
    assert checks(judge.nothing_of([ONE], tombstone, [f"{image(1)}.part"])) == ["gone"]


def test_a_wrong_memory_is_found() -> None:
    model = Model(LIFE)
    model.state = State(HostName("h1"), 4, known=True, generation=3, attached=True, carried="x")
    record = {"sequence": 4, "phase": "attached", "image": {"generation": 3}, "vm": {"host": "h1"}}
    assert checks(judge.remembered([model], {ONE: (record, (None, "x"))})) == []
    assert checks(judge.remembered([model], {})) == ["remembered"]
    assert checks(judge.remembered([model], {ONE: (record, ("x", None))})) == ["remembered"]
    for change in ({"sequence": 3}, {"phase": "staged"}, {"image": {"generation": 4}}, {"vm": {"host": "h2"}}):
        assert checks(judge.remembered([model], {ONE: (record | change, (None, "x"))})) == ["remembered"]
    model.state = replace(model.state, unsettled=True)
    assert checks(judge.remembered([model], {})) == []


def test_orphans_are_found_also_when_a_sweep_has_taken_them_away() -> None:
    assert checks(judge.no_orphans([image(3)], [image(3)], [], [])) == []
    assert checks(judge.no_orphans([image(3), image(2)], [image(3)], [], [])) == ["orphan"]
    assert checks(judge.no_orphans([image(3), image(3)], [image(3)], [], [])) == ["orphan"]  # on two storages
    assert checks(judge.no_orphans([], [], [image(2)], [OTHER])) == ["orphan"]
    assert checks(judge.no_orphans([], [], [image(2)], [ONE])) == []


def test_a_secret_is_found_in_every_disguise() -> None:
    password = secret_password(ONE, 1)
    for disguise in (password, b64(f"xy{password}"), password.encode().hex(), b64(secret_user_data(ONE, 1))):
        assert checks(judge.no_secret({"a log": f"before {disguise} after".encode()})) == ["secret"]
    assert checks(judge.no_secret({"a log": b"nothing of that kind"})) == []


def test_messages_that_nobody_waits_for_and_a_late_start_are_found() -> None:
    idle = [0.1, 0.1, 5.0]
    assert checks(judge.no_backlog(100, [0.1, 0.9, 60.0], idle)) == []
    assert checks(judge.no_backlog(101, [], idle)) == ["backlog"]
    assert checks(judge.no_backlog(0, [0.1, 1.1, 1.2], idle)) == ["backlog"]


def test_who_stood_still_and_then_died_has_reported_nothing() -> None:
    assert judge.died_unheard(Span("upload", 5, 10, 1, 1), {(1, 1): 10, (2, 1): 20})
    assert not judge.died_unheard(Span("upload", 5, 10, 1, 1), {(1, 1): 11})


def test_an_unforeseen_exception_in_a_log_is_found() -> None:
    assert checks(judge.calm_logs({"worker-1": "fine\nunforeseen KeyError in start\n"})) == ["log"]
