"""The wake-up: the disposable Celery message that tells a worker to look into a VM's mailbox.

It carries the event's id (as the task's id), short type, VM uuid and attempt, and nothing else: losing or doubling it
does no harm, and there is nothing in it to leak. It is sent without ETA or countdown, always. The same holds for the
other message there is, which names a host to be asked for what it still has of VMs (`tasks.leftovers`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

from celery import Celery
from kombu import Producer, Queue

from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import UUID_PATTERN, EventId, HostName, HypervisorName, VmUuid
from tasks.mailbox import Wake

_log = logging.getLogger(__name__)

TASK_NAME = "configdrive.lifecycle.transitions"
LEFTOVERS_NAME = "configdrive.lifecycle.leftovers"
_BATCH = 100

_UUID = re.compile(UUID_PATTERN)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+=~-]{0,127}")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


def queue_name(hypervisor: HypervisorName | str, zone: str | None = None) -> str:
    """Return the name of the queue for a hypervisor, optionally of one zone."""
    return f"configdrive.{hypervisor}" + (f".{zone}" if zone else "")


def queue(name: str) -> Queue:
    """Return the Celery queue of that name, declared the same way by everyone."""
    return Queue(name, routing_key=name)


@dataclass(frozen=True, slots=True)
class Wakeup:
    """A wake-up as it arrives."""

    event_id: EventId
    vm_uuid: VmUuid


def read(task_id: object, arguments: Sequence[object]) -> Wakeup:
    """Check what came from the broker, where anybody with access can write.

    Raises:
        PermanentError: `INVALID_EVENT` when it is not a wake-up of ours.
    """
    match list(arguments):
        case [str(), str(uuid), int()] if isinstance(task_id, str) and _ID.fullmatch(task_id) and _UUID.fullmatch(uuid):
            return Wakeup(EventId(task_id), VmUuid(uuid))
        case _:
            detail = "a task message that is not [event type, VM uuid, attempt] with the event's id as task id"
            raise PermanentError(PermanentCode.INVALID_EVENT, detail, "publish through LifecyclePublisher")


def read_host(task_id: object, arguments: Sequence[object]) -> HostName:
    """Check what came from the broker as the question to a host.

    Raises:
        PermanentError: `INVALID_EVENT` when it is none of ours.
    """
    match list(arguments):
        case [str(host)] if isinstance(task_id, str) and _ID.fullmatch(task_id) and _HOST.fullmatch(host):
            return HostName(host)
        case _:
            detail = "a task message that does not name one host"
            raise PermanentError(PermanentCode.INVALID_EVENT, detail, "the fleet sends these itself")


def check(task: object, task_id: object, arguments: Sequence[object]) -> None:
    """Check a message of either kind.

    Raises:
        PermanentError: `INVALID_EVENT` when it is none of ours.
    """
    if task == LEFTOVERS_NAME:
        read_host(task_id, arguments)
    elif task == TASK_NAME:
        read(task_id, arguments)
    else:
        detail = "a message for another task"
        raise PermanentError(PermanentCode.INVALID_EVENT, detail, "publish through LifecyclePublisher")


class WakeUps:
    """Sends wake-ups.

    One that cannot be sent is no failure: what it is about is stored already, and the sweeper sends it again. So
    neither a publisher nor a worker is told of it, except in the log.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app

    def send(self, wake: Wake) -> None:
        """Send one wake-up."""
        try:
            with self._app.producer_pool.acquire(block=True) as producer:
                self._send(wake, producer)
        except Exception as error:  # noqa: BLE001 - kombu lets many through; see the class for why none matters
            _log.warning("a wake-up was not sent, the sweeper will: %s", type(error).__name__)

    def send_many(self, wakes: Sequence[Wake]) -> None:
        """Send many wake-ups, a hundred in a round trip."""
        if not wakes:
            return
        try:
            # `batch` is new in kombu 5.7 and not in its type stubs yet.
            with self._app.producer_pool.acquire(block=True) as producer, producer.batch(_BATCH):  # type: ignore[attr-defined]
                for wake in wakes:
                    self._send(wake, producer)
        except Exception as error:  # noqa: BLE001 - as in `send`
            _log.warning("%d wake-ups may not have been sent, the sweeper will: %s", len(wakes), type(error).__name__)

    def ask(self, queue_: str, host: HostName) -> None:
        """Have a host asked for what it still has of a queue's VMs."""
        try:
            with self._app.producer_pool.acquire(block=True) as producer:
                self._app.send_task(
                    LEFTOVERS_NAME,
                    args=(host,),
                    queue=queue(queue_),  # type: ignore[arg-type]  # a Queue is taken too
                    producer=producer,
                    ignore_result=True,
                    time_limit=None,
                    soft_time_limit=None,
                )
        except Exception as error:  # noqa: BLE001 - as in `send`
            _log.warning("host %s was not asked, it will be: %s", host, type(error).__name__)

    def _send(self, wake: Wake, producer: Producer) -> None:
        header = wake.header
        self._app.send_task(
            TASK_NAME,
            args=(header.event_type, header.vm_uuid, wake.attempt),
            task_id=header.event_id,
            queue=queue(header.queue),  # type: ignore[arg-type]  # a Queue is taken too
            producer=producer,
            ignore_result=True,
            retries=wake.attempt - 1,  # Flower's column
            # Not the sender's: a worker that sends the next wake-up would write its own limits into the message.
            time_limit=None,
            soft_time_limit=None,
        )
