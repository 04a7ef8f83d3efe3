"""The wake-up as it arrives: what is taken from a broker anybody may write to, and what each pass sends."""

from __future__ import annotations

import pytest

from configdrive.errors import PermanentCode
from configdrive.model import EventKey, HostName, VmUuid
from tasks.mailbox import Sent, Wakeup
from tasks.wakeup import AT_ONCE, Question, read, read_question, wake_due
from tests.support import error_of
from tests.unit.documents import OTHER_UUID, UUID
from tests.unit.fakes.queue import QUEUE, Queue

KEY = EventKey("-Q3_rWv0yhbCwTq8z1oXkA")


def test_a_wake_up_is_read() -> None:
    assert read(KEY, ["start", UUID, 1, 7], QUEUE) == Wakeup(KEY, VmUuid(UUID), QUEUE, 7)


def test_a_question_to_a_host_is_read() -> None:
    assert read_question("x", ["host-1", 7], QUEUE) == Question(HostName("host-1"), QUEUE, 7)


@pytest.mark.parametrize(
    ("task_id", "arguments"),
    [
        (None, ["start", UUID, 1, 1]),
        (7, ["start", UUID, 1, 1]),
        ("", ["start", UUID, 1, 1]),
        ("../x", ["start", UUID, 1, 1]),
        ("x" * 23, ["start", UUID, 1, 1]),
        ("event-1", ["start", UUID, 1, 1]),
        (f"{KEY}\n", ["start", UUID, 1, 1]),
        (KEY, []),
        (KEY, ["start", UUID]),
        (KEY, ["start", UUID, 1]),
        (KEY, ["start", UUID, 1, -1]),
        (KEY, ["start", UUID, 1, 1, 2]),
        (KEY, ["start", UUID, "1", 1]),
        (KEY, ["start", UUID, 1, "1"]),
        (KEY, [5, UUID, 1, 1]),
        (KEY, ["start", "swordfish", 1, 1]),
        (KEY, ["start", UUID.upper(), 1, 1]),
        (KEY, ["start", f"{UUID}\n", 1, 1]),
        (KEY, [["start"], {"a": UUID}, 1, 1]),
    ],
)
def test_what_is_no_wake_up_is_refused_without_quoting_it(task_id: object, arguments: list[object]) -> None:
    caught = error_of(read, task_id, arguments, QUEUE)
    assert caught.code is PermanentCode.INVALID_EVENT
    assert "swordfish" not in repr(caught)


def test_a_pass_sends_what_is_due_on_its_queues() -> None:
    world = Queue()
    header = world.put("start")
    world.post("elsewhere", "start", b"{}", uuid=OTHER_UUID)
    assert wake_due(world.mailbox, [QUEUE], pause=30).wakeups == (), "both are on their way"
    world.claim(header)
    world.fleet.clock.time += 31
    assert wake_due(world.mailbox, [f"{QUEUE}.z1"], pause=30).wakeups == ()
    assert wake_due(world.mailbox, [f"{QUEUE}.z1", QUEUE], pause=30).wakeups == (Sent(header, 2),)
    assert wake_due(world.mailbox, [QUEUE], pause=30).wakeups == (), "it is not sent again at once"


def test_a_pass_takes_only_so_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Queue()
    limits: list[int] = []

    def nothing(_queue: str, limit: int, *, at_once: bool) -> list[Sent]:
        assert not at_once
        limits.append(limit)
        return []

    monkeypatch.setattr(world.mailbox, "wake_due", nothing)
    wake_due(world.mailbox, ["a", "b"], pause=30)
    assert limits == [AT_ONCE, AT_ONCE]
