"""The judge can condemn: each check on data in which one thing is wrong, and on the same without it."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configdrive.contract.outcome import Outcome, Status
from configdrive.model import HostName, InstanceName, VmUuid
from rigs.simulated.audit import Entry, Mark
from rigs.simulated.spans import CHANGING, Span, spans_of
from tests.chaos import judge
from tests.chaos.model import Content, Finding, Model, State, unlike
from tests.chaos.plan import POOL, Life, secret_password, secret_user_data
from tests.chaos.troubles import Freeze
from tests.e2e.known_secrets import b64

ONE, OTHER = VmUuid("11111111-1111-4111-8111-111111111111"), VmUuid("22222222-2222-4222-8222-222222222222")
LIFE = Life(0, ONE, InstanceName("i-2-0-VM"), HostName("h1"), POOL, 0.0, ())


def image(generation: int, uuid: VmUuid = ONE) -> str:
    return f"i-2-0-vm.{uuid}.{generation}.iso"


def attached(name: str, verb: str = "attach") -> Entry:
    after: dict[str, object] = {"host": "h1", "power": "halted", "live": {}, "config": {"hdd": f"pool/{name}"}}
    return Entry(0.0, 1, 1, 1, verb, Mark.CHANGE, ONE, after=after)


def ended(seen: str) -> list[Outcome]:
    """Return outcomes of the events a, b, ...; p: a was parked."""
    return [
        Outcome("a" if event == "p" else event, "/tests", "start", ONE, 1, status, 0.0)
        for event in seen
        for status in [Status.PARKED if event == "p" else Status.APPLIED]
    ]


def ends(seen: str) -> Iterable[Finding]:
    return judge.one_end_each({ONE: [outcome.key for outcome in ended("ab")]}, ended(seen))


def overlap(at: tuple[int, int], other: tuple[int, int], who: tuple[int, int], *freezes: Freeze) -> Any:  # noqa: ANN401
    first, second = Span("attach", *at, 1, 1), Span("detach", *other, *who)
    return judge.no_overlap({ONE: [first, second]}, freezes, 100)


IDLE = [0.1, 0.1, 5.0]
TOMBSTONES = {f"vm:{ONE}": {"state": '{"phase":"gone"}'}, f"vm:{OTHER}": {"state": '{"sealed":{"pending":"v1."}}'}}
PASSWORD = secret_password(ONE, 1)
FORGED: list[tuple[Iterable[Finding], list[str]]] = [
    (ends("ab"), []),
    (ends("pab"), []),  # parked, and tried again
    (ends("a"), ["one end", "order"]),  # lost
    (ends("abb"), ["one end", "order"]),  # done twice
    (ends("ba"), ["order"]),
    (ends("abx"), ["one end"]),  # nobody's
    (judge.own_drives_only([attached(image(1)), attached(image(2))]), []),
    (judge.own_drives_only([attached(image(1, OTHER))]), ["own drive"]),
    (judge.own_drives_only([attached(image(1, OTHER), "world.insert")]), ["own drive"]),
    (judge.own_drives_only([attached(image(2)), attached(image(1))]), ["own drive"]),
    (overlap((0, 10), (10, 20), (2, 1)), []),
    (overlap((0, 10), (5, 20), (2, 1)), ["overlap"]),
    (overlap((0, 10), (5, 20), (1, 2)), ["overlap"]),  # two threads
    (overlap((0, 900), (500, 600), (2, 1)), []),  # it hung for longer than its lease
    (overlap((0, 90), (50, 60), (2, 1), Freeze((1,), -90, 30)), []),
    (overlap((0, 90), (50, 60), (2, 1), Freeze((2,), -60, 30)), []),
    (overlap((0, 90), (50, 60), (2, 1), Freeze((3,), -90, 30)), ["overlap"]),
    (overlap((0, 90), (50, 60), (2, 1), Freeze((1,), -20, 10)), ["overlap"]),  # too short
    *[
        (judge.nothing_waits({f"{kind}:x": ["1"], "outcomes": []}), ["at rest"])
        for kind in ("mail", "body", "due", "parked", "left", "verify", "dead", "orphans")
    ],
    (judge.nothing_waits({f"vm:{ONE}": {"state": "", "epoch": "3"}}), []),
    (judge.nothing_waits({f"vm:{ONE}": {"state": "", "owner": "x"}}), ["at rest"]),
    (judge.nothing_of([ONE], TOMBSTONES, [image(1, OTHER)]), []),
    (judge.nothing_of([OTHER], TOMBSTONES, []), ["gone"]),
    (judge.nothing_of([ONE], TOMBSTONES | {f"mail:{ONE}": ["x"]}, []), ["gone"]),
    (judge.nothing_of([ONE], TOMBSTONES, [f"{image(1)}.part"]), ["gone"]),
    (judge.no_orphans([image(3)], [image(3)], [], []), []),
    (judge.no_orphans([image(3), image(2)], [image(3)], [], []), ["orphan"]),
    (judge.no_orphans([image(3), image(3)], [image(3)], [], []), ["orphan"]),  # on two storages
    (judge.no_orphans([], [], [image(2)], [OTHER]), ["orphan"]),  # a sweep has taken it away
    (judge.no_orphans([], [], [image(2)], [ONE]), []),
    *[
        (judge.no_secret({"a log": f"before {disguise} after".encode()}), ["secret"])
        for disguise in (PASSWORD, b64(f"xy{PASSWORD}"), PASSWORD.encode().hex(), b64(secret_user_data(ONE, 1)))
    ],
    (judge.no_secret({"a log": b"nothing of that kind"}), []),
    (judge.no_backlog(100, [0.1, 0.9, 60.0], IDLE), []),
    (judge.no_backlog(101, [], IDLE), ["backlog"]),
    (judge.no_backlog(0, [0.1, 1.1, 1.2], IDLE), ["backlog"]),
    (judge.calm_logs({"worker-1": "fine\nunforeseen KeyError in start\n"}), ["log"]),
    (judge.no_end_unasked([-9, 0, -9, 69], 2), []),
    (judge.no_end_unasked([-9, 69], 0), ["worker"]),
]


@pytest.mark.parametrize(("findings", "checks"), FORGED)
def test_what_is_wrong_is_found_and_nothing_else(findings: Iterable[Finding], checks: list[str]) -> None:
    assert [finding.check for finding in findings] == checks


def test_content_that_is_not_the_vms_own_is_found(tmp_path: Path) -> None:
    model = Model(LIFE)
    model.contents[1] = Content(PASSWORD, secret_user_data(ONE, 1))
    good = f'{{"uuid": "{ONE}"}}{PASSWORD}{secret_user_data(ONE, 1)}'.encode()
    assert list(unlike(good, model.contents[1], LIFE)) == []

    def found(name: str, content: bytes) -> int:
        (kept := tmp_path / f"{name}.77").write_bytes(content)
        return len(list(judge.right_content([kept], {ONE: model})))

    for wrong in (
        good + secret_password(OTHER, 1).encode(),  # in what a buffer had before, for instance
        good.replace(PASSWORD.encode(), b""),
        good.replace(secret_user_data(ONE, 1).encode(), secret_user_data(ONE, 2).encode()),
        good.replace(f'"{ONE}"'.encode(), f'"{OTHER}"'.encode()),
    ):
        assert found(image(1), wrong)
    assert not found(image(1), good)
    assert found(image(2), good)
    assert found("stranger.iso", good)


def test_spans_end_with_the_last_line_of_a_killed_process() -> None:
    lines = [
        (Mark.BEGIN, 10, 1, "upload"),
        (Mark.CHANGE, 12, 1, "upload"),
        (Mark.BEGIN, 20, 2, "upload"),
        (Mark.END, 25, 2, "upload"),
        (Mark.BEGIN, 26, 2, "attach"),
        (Mark.BEGIN, 30, 2, "observe"),
    ]
    assert spans_of([Entry(0.0, tick, pid, 1, verb, mark, ONE) for mark, tick, pid, verb in lines], CHANGING) == {
        ONE: [Span("upload", 10, 12, 1, 1), Span("upload", 20, 25, 2, 1), Span("attach", 26, 26, 2, 1)]
    }


def test_a_wrong_memory_is_found() -> None:
    model = Model(LIFE)
    model.state = State(HostName("h1"), 4, known=True, generation=3, attached=True, carried="x")
    record = {"sequence": 4, "phase": "attached", "image": {"generation": 3}, "vm": {"host": "h1"}}

    def found(record: dict[str, Any], *passwords: str | None) -> int:
        return len(list(judge.remembered([model], {ONE: (record, passwords)} if record else {})))  # type: ignore[dict-item]

    assert not found(record, None, "x")
    assert found({})
    assert found(record, "x", None)
    for change in ({"sequence": 3}, {"phase": "staged"}, {"image": {"generation": 4}}, {"vm": {"host": "h2"}}):
        assert found(record | change, None, "x")
    model.state = replace(model.state, unsettled=True)
    assert not found({})


def test_who_stood_still_and_then_died_has_reported_nothing() -> None:
    assert judge.died_unheard(Span("upload", 5, 10, 1, 1), {(1, 1): 10, (2, 1): 20})
    assert not judge.died_unheard(Span("upload", 5, 10, 1, 1), {(1, 1): 11})
