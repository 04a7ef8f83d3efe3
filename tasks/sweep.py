"""The sweeper's pass, which every worker makes: wake-ups that were lost or are due now, and hosts to be asked again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from configdrive.model import HostName
from tasks.mailbox import Mailbox, Wake
from tasks.wakeup import WakeUps

AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Sent:
    """What one pass has sent: wake-ups, and (queue, host) of each host that is asked for what it still has."""

    wakes: tuple[Wake, ...] = ()
    hosts: tuple[tuple[str, HostName], ...] = ()


def sweep_once(mailbox: Mailbox, wakeups: WakeUps, queues: Iterable[str], *, pause: float) -> Sent:
    """Send what is due on these queues. A host that still has something of a VM is asked every `pause` seconds."""
    wakes: list[Wake] = []
    hosts: list[tuple[str, HostName]] = []
    for name in queues:
        found = mailbox.sweep(name, AT_ONCE)
        wakeups.send_many(found)
        wakes += found
        for host in mailbox.hosts_owing(name, pause):
            wakeups.ask(name, host)
            hosts.append((name, host))
    return Sent(tuple(wakes), tuple(hosts))
