"""Since when the next event of a VM has been the next one."""

from __future__ import annotations

from dataclasses import dataclass, field

from workers.metrics_fleet import Heads


@dataclass
class Queue:
    """Mailboxes that are looked at now and then."""

    now: float = 100.0
    mail: dict[bytes, bytes | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.heads = Heads(lambda: self.now)

    def look(self, after: float) -> float:
        self.now += after
        return self.heads.oldest(self.mail)


def test_nothing_waits() -> None:
    assert Queue().look(1) == 0


def test_an_event_grows_old_while_it_stays_the_next_one() -> None:
    queue = Queue(mail={b"a": b"1"})
    assert [queue.look(5), queue.look(5), queue.look(5)] == [0, 5, 10]


def test_a_vm_that_goes_on_is_not_old() -> None:
    queue = Queue(mail={b"a": b"1"})
    queue.look(5)
    queue.mail[b"a"] = b"2"
    assert queue.look(5) == 0
    assert queue.look(5) == 5


def test_the_oldest_counts() -> None:
    queue = Queue(mail={b"a": b"1"})
    queue.look(5)
    queue.mail |= {b"b": b"1"}
    queue.look(5)
    assert queue.look(5) == 10
    del queue.mail[b"a"]
    assert queue.look(0) == 5


def test_a_vm_whose_mail_was_emptied_between_two_questions_is_left_out() -> None:
    queue = Queue(mail={b"a": b"1"})
    queue.look(5)
    queue.mail[b"a"] = None
    assert queue.look(5) == 0
    queue.mail[b"a"] = b"1"
    assert queue.look(5) == 0, "it was seen to be away"
