"""The entry point on the broker: kombu's Redis transport, which looks at each message before Celery does.

Whoever can write to Redis can write to the queues. kombu and Celery end the whole worker over a message that is no
JSON, and put one that breaks them back for the next worker (tried: kombu 5.7.0, `tests/e2e/test_hostile.py`). A wake-up
is worth nothing, so whatever is not exactly one of ours goes to the dead letters: without its content, which is a
stranger's. And neither a broken connection nor a full Redis ends a worker (`tests/chaos/test_chaos.py`).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection
from queue import Empty
from typing import Any, ClassVar

from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.transport.redis import Channel, QoS, SentinelChannel, SentinelTransport, Transport
from redis.exceptions import OutOfMemoryError
from typing_extensions import override

from configdrive.errors import PermanentError
from tasks.mailbox import DeadLetter, DeadLetters
from tasks.wakeup import check

NAME = "configdrive"
"""The transport's name in broker URLs and in Celery's setting `broker_transport`."""

_log = logging.getLogger(__name__)

_STRANGE_BODY = "a message with a body that the fleet does not write"

_PASSING: tuple[type[Exception], ...] = (Empty, *Transport.connection_errors)


def problem_of(raw: object, queue: str) -> str | None:
    """Say what is wrong with a raw message as a wake-up; `None` when nothing is.

    An ETA is refused because a worker that holds such a message exits when Redis goes away (celery 5.7.0), a time limit
    because it would kill the work of a pool's child, callbacks because they would send other tasks.
    """
    match raw:
        case {
            "headers": {
                "task": str(task),
                "id": task_id,
                "eta": None,
                "expires": None,
                "timelimit": [None, None],
                "retries": int(),
            },
            "properties": {"delivery_tag": str(), "delivery_info": {"exchange": "", "routing_key": str(own)}, **more},
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "body": str(body),
        } if own == queue and "body_encoding" not in more:
            pass
        case _:
            return "a message that the fleet does not send"
    try:
        match json.loads(body):
            case [list(arguments), {**named}, {**embedded}] if not named and not any(embedded.values()):
                check(task, task_id, arguments, queue)
            case _:
                return _STRANGE_BODY
    except PermanentError as error:
        return error.detail
    except (ValueError, RecursionError):
        return _STRANGE_BODY
    return None


class GuardedQoS(QoS):
    """Keeps in mind what was taken and not begun, and gives it back at the end, when it can.

    kombu's own writes both down on Redis, two transactions for each message, to give back what a dead worker had. A
    wake-up that is lost so is sent again by its number (docs/adr/0022), and a full Redis would refuse the notes.
    """

    @override
    def append(self, message: Any, delivery_tag: str) -> None:
        virtual.QoS.append(self, message, delivery_tag)

    @override
    def ack(self, delivery_tag: str) -> None:
        virtual.QoS.ack(self, delivery_tag)

    @override
    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        virtual.QoS.reject(self, delivery_tag, requeue=requeue)

    @override
    def restore_visible(self, *arguments: Any, **named: Any) -> None:
        """Look for no note: there is none."""

    @override
    def restore_unacked(self, client: Any = None) -> None:
        # kombu does this while it closes a broken connection, too: nothing that goes wrong here may end the worker.
        taken: dict[str, Any] = self._delivered or {}
        for tag in list(self._dirty or ()):
            taken.pop(tag, None)
        while taken:
            _, message = taken.popitem()
            try:
                self.channel._restore(message)  # noqa: SLF001 - ours
            except Exception as error:  # noqa: BLE001 - see above
                _log.warning("a wake-up was not given back, it will be sent again: %s", type(error).__name__)


class GuardedChannel(Channel):
    """A channel that survives what is no JSON, and keeps its client: kombu makes one for each command."""

    QoS: type[QoS] = GuardedQoS
    _kept: Any = None

    # Not in kombu's type stubs, as what follows.
    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - kombu's
        make: Callable[..., Any] = super()._create_client  # type: ignore[misc]
        if asynchronous:
            return make(asynchronous=True)
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = make()
        return self._kept

    @override
    def _restore(self, message: Any, leftmost: bool = False) -> None:
        """Put a message that was taken back where it is taken next."""
        with self.conn_or_acquire() as client:
            client.rpush(message.delivery_info["routing_key"], json.dumps(message._raw))  # noqa: SLF001 - as it was

    @override
    def _restore_at_beginning(self, message: Any) -> None:
        self._restore(message)

    # What is called when a queue has answered.
    def _brpop_read(self, **options: object) -> bool:
        try:
            return bool(super()._brpop_read(**options))  # type: ignore[misc]
        except _PASSING:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is in the message, which is gone now
            self.connection.refuse(f"a message that cannot be read ({type(error).__name__})")  # type: ignore[attr-defined]
            return True


class GuardedTransport(Transport):
    """A transport that hands on nothing but wake-ups; what is not ours to judge (remote control) passes.

    A full Redis refuses a worker that connects what it declares. To Celery that is the end of the worker; it shall try
    again, as when Redis is away.
    """

    Channel: type[Channel] = GuardedChannel
    connection_errors: tuple[type[Exception], ...] = (*Transport.connection_errors, OutOfMemoryError)
    served: ClassVar[frozenset[str]] = frozenset()
    dead_letters: ClassVar[DeadLetters]

    @override
    def _deliver(self, message: Any, queue: str | None) -> None:
        problem = problem_of(message, queue) if queue in self.served else None
        if problem is None:
            super()._deliver(message, queue)
        else:
            self.refuse(problem)

    def refuse(self, reason: str) -> None:
        """Note that a message was refused; never its content."""
        _log.error("refused %s", reason)
        try:
            self.dead_letters.dead_letter(DeadLetter(time.time(), "broker", reason))
        except Exception as error:  # noqa: BLE001 - the list of refused messages is no reason to stop working
            _log.warning("a dead letter was not written: %s", type(error).__name__)


class GuardedSentinelChannel(GuardedChannel, SentinelChannel):
    """The same for the master behind a Sentinel."""


class GuardedSentinelTransport(GuardedTransport, SentinelTransport):
    """The same for the master behind a Sentinel."""

    default_port = SentinelTransport.default_port
    Channel: type[SentinelChannel] = GuardedSentinelChannel  # type: ignore[mutable-override]  # kombu's own does so


def guarded(served: Collection[str], dead_letters: DeadLetters, *, sentinel: bool = False) -> type[GuardedTransport]:
    """Return the transport for a worker that takes from the queues `served`, and register it under `NAME`."""
    base = GuardedSentinelTransport if sentinel else GuardedTransport
    members = {"served": frozenset(served), "dead_letters": dead_letters}
    made = type(base.__name__, (base,), members)
    # After a failure kombu goes on to the next Sentinel's URL, and to the transport that its scheme names.
    for name in (NAME, "sentinel") if sentinel else (NAME,):
        TRANSPORT_ALIASES[name] = lambda: made  # type: ignore[assignment]  # a callable is taken too
    return made
