"""The wake-up as it arrives: what is taken from a broker anybody may write to, and what each pass sends."""

import pytest

from configdrive.errors import PermanentCode
from configdrive.model import EventKey, HostName, VmUuid
from tasks.mailbox import Wakeup
from tasks.wakeup import Question, read, read_question
from tests.support import error_of
from tests.unit.documents import UUID
from tests.unit.fakes.queue import QUEUE

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
