"""The door on the broker: kombu's Redis transport, which looks at each message before Celery does.

Whoever can write to Redis can write to the queues. kombu and Celery end the whole worker over a message that is no
JSON, and put one that breaks them back for the next worker (tried: kombu 5.7.0, `tests/e2e`). A wake-up is worth
nothing, so whatever is not exactly one of ours goes to the dead letters: without its content, which is a stranger's.
"""

from __future__ import annotations

import binascii
import json
import logging
import time
from base64 import b64decode
from collections.abc import Callable, Collection
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.redis import Channel, Transport
from typing_extensions import override

from configdrive.errors import PermanentError
from tasks.mailbox import DeadLetter
from tasks.wakeup import TASK_NAME, read

NAME = "configdrive"
"""The transport's name in broker URLs and in Celery's setting `broker_transport`."""

_log = logging.getLogger(__name__)

Bury = Callable[[DeadLetter], None]


def problem_of(raw: object) -> str | None:
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
                "retries": 0,
            },
            "properties": {
                "delivery_tag": str(),
                "delivery_info": {"exchange": str(), "routing_key": str()},
                "body_encoding": "base64",
            },
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "body": str(body),
        }:
            pass
        case _:
            return "a message that LifecyclePublisher does not send"
    if task != TASK_NAME:
        return "a message for another task"
    try:
        arguments, named, embedded = json.loads(b64decode(body, validate=True))
        read(task_id, [*arguments, *named, *(callback for callback in embedded.values() if callback)])
    except PermanentError as error:
        return error.detail
    except (ValueError, TypeError, AttributeError, binascii.Error, RecursionError):
        return "a message with a body that LifecyclePublisher does not write"
    return None


def guarded(served: Collection[str], bury: Bury) -> type[Transport]:
    """Return the transport for a worker that takes from the queues `served`, and register it under `NAME`."""
    queues = frozenset(served)
    passing: tuple[type[Exception], ...] = (Empty, *Transport.connection_errors)

    def refuse(reason: str) -> None:
        _log.error("refused %s", reason)
        try:
            bury(DeadLetter(time.time(), "broker", reason))
        except Exception as error:  # noqa: BLE001 - the list of refused messages is no reason to stop working
            _log.warning("a dead letter was not written: %s", type(error).__name__)

    class GuardedChannel(Channel):
        """A channel that survives what is no JSON."""

        # Not in kombu's type stubs: what is called when a queue has answered.
        def _brpop_read(self, **options: object) -> bool:
            try:
                return bool(super()._brpop_read(**options))  # type: ignore[misc]
            except passing:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it is in the message, which is gone now
                refuse(f"a message that cannot be read ({type(error).__name__})")
                return True

    class GuardedTransport(Transport):
        """A transport that hands on nothing but wake-ups; what is not ours to judge (remote control) passes."""

        Channel: type[Channel] = GuardedChannel

        @override
        def _deliver(self, message: Any, queue: str | None) -> None:
            if queue not in queues:
                super()._deliver(message, queue)
                return
            problem = problem_of(message)
            if problem is None:
                super()._deliver(message, queue)
            else:
                refuse(problem)

    TRANSPORT_ALIASES[NAME] = lambda: GuardedTransport  # type: ignore[assignment]  # a callable is taken too
    return GuardedTransport
