"""The sweeper's one pass: find wake-ups that were lost or have become due, and send them. Every worker runs it."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.mailbox import Mailbox
from tasks.wakeup import WakeUps

AT_ONCE = 500


def sweep_once(mailbox: Mailbox, wakeups: WakeUps, queues: Iterable[str]) -> int:
    """Send what is due on these queues; returns how many wake-ups were sent."""
    sent = 0
    for name in queues:
        found = mailbox.sweep(name, AT_ONCE)
        wakeups.send_many(found)
        sent += len(found)
    return sent
