"""A worker that stands still within its attempt while others go on with the VM's life, and is let go at some moment.

Over the real store and the real use case. The two workers take turns, so each run is the same each time: one thread
stands at a point of a verb until the other has come to the moment at which it is let go, and then waits for its end.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Final

import redis

from configdrive.contract.outcome import Status
from configdrive.model import EventKey, HostName, StorageName, StoredImage
from tasks.mailbox import OperatorAction, Wakeup
from tasks.policy import Limits
from tasks.wakeup import LEFTOVERS_NAME, Question
from tests.lives.life import Asking
from tests.mailboxes import Store, outcome
from tests.unit.documents import OTHER_UUID, Json
from tests.unit.fakes.cloud import At, Machine
from tests.unit.fakes.fleet import HOST_1, PRIMARY, VM, foreign_image, read_image
from tests.unit.fakes.queue import QUEUE, Queue

AGES = 100_000.0
"""Seconds after which every lease has run out, every back-off is over, and every question is due."""

_BUSY = (("verify", QUEUE), ("left", QUEUE), ("mail", VM))

ENDED: Final = "when the last event had ended"
ROUNDS = 12
"""After so many looks for what is due the fleet is at rest."""


@dataclass(frozen=True)
class Event:
    """One event of the VM."""

    word: str
    data: Json = field(default_factory=dict)
    early: ClassVar[bool] = True


@dataclass(frozen=True)
class Act:
    """Something that is done to the VM itself, or by a person, once all events before it have ended; or `early`."""

    do: Callable[["Place"], object]
    early: bool = False


Happening = Event | Act


@dataclass(frozen=True)
class Script:
    """One VM's life.

    Args:
        before: what was.
        event: within which the first worker stands still, or within what else it does.
        later: what comes while it does.
        password: on the drive, or on the one image that lies there, at the end; `None`: nothing is left.
        host: where the VM is then.
        root: the storage of its root disk.
        attached: whether the image is in the drive.
    """

    before: tuple[Happening, ...]
    event: Happening
    later: tuple[Happening, ...]
    password: str | None = None
    host: HostName = HOST_1
    root: StorageName = PRIMARY
    attached: bool = True


class Place:
    """A fleet of two workers, and its VM.

    Args:
        client: to the store, which is emptied.
        script: what happens.
        frozen: the point at which the first worker stands still, of those that it passes; none: it is never stopped.
        free: the moment at which it is let go: its number among those that the second worker comes to, or its name;
            none: when all is at rest.
        at_once: the first later event comes before another worker has taken the VM over.
    """

    def __init__(
        self, client: redis.Redis, script: Script, frozen: int | None, free: int | str | None, *, at_once: bool
    ) -> None:
        client.flushdb()
        self.script = script
        self.queue = Queue(
            Store(client, lease=3_000.0, prefix="f:"), Limits(attempts=8, backoff=1.0, backoff_most=2.0), Asking
        )
        self.store, self.cloud = self.queue.store, self.queue.fleet.cloud
        self.machine = self.cloud.machines[VM] = Machine(HOST_1, script.root)
        self.neighbour = foreign_image(self.cloud, OTHER_UUID)
        self.cloud.machines[self.neighbour.name.vm_uuid] = Machine(HOST_1, PRIMARY, slot=True, medium=self.neighbour)
        self.cloud.hook = self._at_point
        self.points: list[str] = []
        self.moments: list[str] = []
        self.went_on = "when all was at rest"
        self.published: list[EventKey] = []
        self._frozen, self._free, self._at_once = frozen, free, at_once
        self._first = threading.Thread(target=self._run_first)
        self._stands, self._goes_on = threading.Semaphore(0), threading.Semaphore(0)
        self._error: BaseException | None = None
        self._watched = False

    # --- the story ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Let it all happen."""
        for happening in self.script.before:
            self._happen(happening)
        if isinstance(self.script.event, Event):
            self._begin(self.script.event)
        self._first.start()
        self._stands.acquire()  # it stands still, or has come to its end
        self._watched = True
        later = list(self.script.later)
        if self._at_once and later[0].early:
            self._begin(later.pop(0))
        self._work()
        self._moment("when the event was taken over")
        for happening in later:
            self._happen(happening)
            self._moment("when the next one had ended")
        self._moment(ENDED)
        self.come_to_rest()
        self._let_go()
        self._watched = False
        self.come_to_rest()
        if self._error is not None:
            raise self._error

    def come_to_rest(self) -> None:
        """Let workers do whatever is due, until nothing is."""
        for _ in range(ROUNDS):
            if not self.store.client.exists(*(self.store.key(*key) for key in _BUSY)):
                return
            self._work()
        raise AssertionError(f"never at rest: {self.store.mailbox.doubts(QUEUE)} {self.store.mailbox.leftovers(QUEUE)}")

    def _happen(self, happening: Happening) -> None:
        self._begin(happening)
        if isinstance(happening, Event):
            self._work()

    def _begin(self, happening: Happening) -> None:
        if isinstance(happening, Event):
            self.published.append(self.queue.put(happening.word, **happening.data).key)
        else:
            happening.do(self)

    def _work(self) -> None:
        """Let time pass, and a worker take all messages that there are then."""
        for _ in range(ROUNDS):
            self.store.age_all(AGES)
            self.store.mailbox.wake_due(QUEUE, 10)
            self.store.mailbox.ask_hosts(QUEUE, 30)
            self.store.mailbox.try_parked(QUEUE, 30)
            messages = self.store.messages(QUEUE)
            self.store.lose_messages(QUEUE)
            for message in messages:
                if message.task == LEFTOVERS_NAME:
                    self.queue.leftovers.answer(Question(message.arguments[0], QUEUE, message.number))
                else:
                    self.queue.attempts.make(message.wakeup)
            if not self.store.client.exists(self.store.key("mail", VM)):
                return

    def have_verified(self) -> None:
        """Have the VM verified at the next look."""
        self.store.client.zadd(self.store.key("verify", QUEUE), {VM: 0})

    def undefine(self) -> None:
        """Take the VM away from its host."""
        del self.cloud.machines[VM]

    def skip(self) -> None:
        """Have a person give up the event at the head."""
        view = self.store.mailbox.view(VM)
        if view is None or not view.mail:
            return  # it has ended meanwhile
        head = view.mail[0]
        self.store.age(VM, AGES)
        skipped = outcome(head, Status.SKIPPED)
        assert self.store.mailbox.act(VM, head.key, OperatorAction.SKIP, skipped) is None

    # --- the first worker -----------------------------------------------------------------------------------------

    def _run_first(self) -> None:
        try:
            if isinstance(self.script.event, Act):
                self.script.event.do(self)
            else:
                self.queue.attempts.make(Wakeup(self.published[-1], VM, QUEUE))
        except BaseException as error:  # noqa: BLE001 - raised in the other thread
            self._error = error
        finally:
            self._stands.release()

    def _at_point(self, verb: str, at: At) -> None:
        if threading.current_thread() is not self._first:
            if self._watched and at is At.BEFORE:
                self._moment(f"before {verb}")
            return
        if (at is At.AFTER) is not (verb == "observe"):
            return  # behind all others, and before this one, nothing is new: it looks at its lease before the next
        self.points.append(f"{at.name.lower()} {verb}")
        if len(self.points) - 1 == self._frozen:
            self._stands.release()
            self._goes_on.acquire()

    def _moment(self, what: str) -> None:
        self.moments.append(what)
        if self._free in {what, len(self.moments) - 1}:
            self.went_on = what
            self._let_go()

    def _let_go(self) -> None:
        self._goes_on.release()
        self._first.join()

    # --- what must be ---------------------------------------------------------------------------------------------

    def problems(self) -> Iterator[str]:
        """Say what is not as the script's end has it."""
        ended = [outcome.key for outcome in self.store.outcomes() if outcome.final]
        if ended != self.published:
            yield f"{self.published} ended as {ended}"
        if self.cloud.machines[self.neighbour.name.vm_uuid].medium != self.neighbour:
            yield "the neighbour has lost its drive"
        if self.neighbour not in self.cloud.files:
            yield "the neighbour has lost its image"
        images = self.cloud.images_of(VM)
        medium = self.machine.medium if VM in self.cloud.machines else None
        if self.script.password is None:
            if images or medium:
                yield f"left {sorted(map(_short, images))}, {medium and _short(medium)} in the drive"
            return
        wanted = next(iter(images)) if len(images) == 1 else None
        if wanted is None or (medium != wanted if self.script.attached else medium is not None):
            yield f"{sorted(map(_short, images))} on storages, {medium and _short(medium)} in the drive"
        elif self.machine.host != self.script.host or wanted.place.host not in {None, self.script.host}:
            yield f"on {wanted.place}, the VM on {self.machine.host}"
        elif _password(self.cloud.files[wanted]) != self.script.password:
            yield f"the drive holds {_password(self.cloud.files[wanted])}"


def _short(stored: StoredImage) -> str:
    return f"#{stored.name.generation}@{stored.place.host or 'shared'}"


def _password(content: bytes) -> str | None:
    found = read_image(content).get("cloudstack/password/vm_password.txt")
    return None if found is None else found.decode()


def run(client: redis.Redis, script: Script, frozen: int | None, free: int | str | None, *, at_once: bool) -> Place:
    """Let a script happen; the arguments are those of `Place`."""
    place = Place(client, script, frozen, free, at_once=at_once)
    place.run()
    return place
