"""What is given strange things: each target takes a `Random`, makes one case of it and gives it to the product.

A further target is one more function with `@target`. It returns whether the case was taken; it raises `AssertionError`
when something happened that must not, and anything else that it lets through counts as a crash.
"""

import base64
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from random import Random
from typing import Any

from redis.exceptions import NoPermissionError
from typing_extensions import override

from configdrive.client.postings import Posting
from configdrive.client.publisher import Publisher
from configdrive.contents.render import Files, render
from configdrive.contract.event_key import event_key
from configdrive.contract.events import parse
from configdrive.contract.sealing import body_of, guest_of
from configdrive.drive_data import VmData
from configdrive.errors import PermanentError
from configdrive.iso import build
from configdrive.iso import read as iso
from configdrive.iso.ecma119 import DamagedImageError
from configdrive.iso.verify import verify
from configdrive.lifecycle import state
from configdrive.lifecycle.transitions import vm_of
from configdrive.model import Generation, HypervisorName, ImageName, InstanceName, VmUuid
from tasks.intake import Ingester, Intake, Refusal, Taken
from tasks.wakeup import LEFTOVERS_NAME, TASK_NAME, read, read_question
from tests.fuzz import corpus
from tests.fuzz.by_schema import drawn
from tests.fuzz.mutations import MARKER, changed, given, scrambled, strange, written
from tests.unit import strategies
from tests.unit.documents import UUID, document
from tests.unit.fakes.small import FakeClock
from workers.config.key_ring import KeyRing
from workers.config.keys import Key
from workers.queueing.transport import problem_of
from workers.store import encoding

Target = Callable[[Random], bool]
TARGETS: dict[str, Target] = {}

VM = VmUuid(UUID)


class _NoRights:
    """A store whose Redis does not let us read which keys are the fleet's."""

    prefix = ""

    @property
    def client(self) -> Any:  # noqa: ANN401 - it stands for a client of Redis'
        return self

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as above
        raise NoPermissionError(name)


_NOBODY: Any = _NoRights()
"""In the place of what a publisher only needs to send."""

_KEY = Key.generate()
KEYS = KeyRing(lambda: [_KEY])
CONTEXT = f"{UUID}/event-1"
SOURCE = "/clouds/test"
TASK_ID = event_key(SOURCE, "event-1")


def target(function: Target) -> Target:
    """Register a target under its name."""
    TARGETS[function.__name__] = function
    return function


def refused(call: Callable[[], object]) -> bool:
    """Call; says whether it was refused as it should be: by an error of ours that quotes nothing of what was given."""
    refusal: PermanentError | None = None
    try:
        call()
    except PermanentError as error:
        refusal = error
    if refusal is None:
        return False
    printed = f"{refusal!r} {refusal.detail} {refusal.remedy}"
    assert MARKER not in printed
    assert len(printed) < 4_000
    assert refusal.__context__ is None or refusal.__suppress_context__, "a traceback would quote what was given"
    return True


@target
def event(random: Random) -> bool:
    """The event parser; and what it takes can be sealed, read again and put onto a drive."""
    raw = given(random, corpus.event(random))
    if refused(lambda: parse(raw)):
        return False
    taken = parse(raw)
    body = body_of(taken, KEYS)
    again = parse(body)
    assert again.id == taken.id
    if refused(lambda: guest_of(again, KEYS)):
        assert again == taken, "what was in the clear is in a box that does not open"
        return False
    guest = guest_of(again, KEYS)
    data = guest.merged_into(VmData())
    refused(lambda: render(vm_of(None, parse(json.dumps(document("start")))), data, guest.password))
    return True


@target
def guest(random: Random) -> bool:
    """What a stranger seals with our public key: the box opens, and its content is judged."""
    plaintext = given(random, corpus.guest(random))
    sealed = parse(json.dumps(document("start", sealed=KEYS.seal(plaintext, CONTEXT))))
    return not refused(lambda: guest_of(sealed, KEYS))


@target
def sealed_box(random: Random) -> bool:
    """A sealed box that is not whole, not ours, or not for here."""
    whole = KEYS.seal(b"content", CONTEXT)
    context = random.choice((CONTEXT, CONTEXT, f"{UUID}/event-2", "", "\n", CONTEXT + "\n"))
    head, _, sealed = whole.rpartition(".")
    made = random.choice(
        (
            lambda: whole,
            lambda: scrambled(random, whole.encode()).decode("utf-8", "surrogateescape"),
            lambda: f"{head}.{base64.urlsafe_b64encode(scrambled(random, base64.urlsafe_b64decode(sealed))).decode()}",
            lambda: f"{head}.{base64.urlsafe_b64encode(random.randbytes(random.choice((0, 47, 48, 300)))).decode()}",
            lambda: f"v1.{random.randbytes(8).hex()}.{sealed}",
            lambda: f"{head}.{sealed}" + random.choice(("=", "A", ".", "\n", "\x00")),
        )
    )()
    opened = not refused(lambda: KEYS.open(made, context))
    assert not opened or (context == CONTEXT and KEYS.open(made, context) == b"content")
    return opened


@cache
def _states() -> list[str]:
    return [state.dump(known, KEYS, VM) for known in drawn(strategies.states, 60)]


@target
def state_at_rest(random: Random) -> bool:
    """What is remembered of a VM, with boxes that whoever can write to Redis has sealed; and the drive made of it."""
    record = json.loads(random.choice(_states()))
    for name, context in (("data", "data"), ("pending", "password"), ("carried", "password")):
        if name in record and random.random() < 0.5:
            plaintext = KEYS.open(record[name], f"{VM}/{context}")
            content = scrambled(random, plaintext)
            if name == "data" and random.random() < 0.8:
                content = given(random, json.loads(plaintext))
            record[name] = KEYS.seal(content, f"{VM}/{context}")
    text = written(random, record) if random.random() < 0.5 else given(random, record)
    as_read = text.decode("utf-8", "replace")
    if refused(lambda: state.load(as_read, KEYS, VM)):
        return False
    known = state.load(as_read, KEYS, VM)
    vm = known.vm or vm_of(None, parse(json.dumps(document("start"))))
    refused(lambda: render(vm, known.data, known.passwords.carried))
    refused(lambda: state.load(state.dump(known, KEYS, VM), KEYS, VM))
    return True


class OneEntry(Intake):
    """An intake with one entry, which remembers what became of it."""

    def __init__(self, entry: bytes) -> None:
        self._entry = entry
        self.judged: list[Posting | Refusal] = []

    @override
    def take(self) -> Taken | float:
        return Taken(0, (self._entry,))

    @override
    def settle(self, first: int, judged: Sequence[Posting | Refusal]) -> int | None:
        self.judged += judged
        return 0

    @override
    def leave(self) -> None:
        pass


@target
def intake(random: Random) -> bool:
    """What any program may put on the intake's list: a posting, or a refusal that quotes nothing."""
    entry = OneEntry(given(random, corpus.event(random)))
    publisher = Publisher(_NOBODY, KEYS, hypervisors=[HypervisorName("kvm")])
    Ingester(entry, publisher.posting, FakeClock(), pause=1.0).look()
    (what,) = entry.judged
    if isinstance(what, Posting):
        return True
    assert MARKER not in what.letter.reason
    assert (
        what.outcome is None or MARKER not in f"{what.outcome.detail} {what.outcome.remedy} {what.outcome.event_type}"
    )
    return False


@target
def header(random: Random) -> bool:
    """What lies in a mailbox in the place of a header."""
    names = {"key": TASK_ID, "id": "event-1", "source": SOURCE, "type": "start"}
    whole = names | {"vm": UUID, "queue": "configdrive.kvm", "sequence": 1}
    raw = given(random, whole)
    return bool(list(encoding.readable([raw])))


QUEUE = "configdrive.kvm"
ENVELOPE: dict[str, Any] = {
    "body": "",
    "content-encoding": "utf-8",
    "content-type": "application/json",
    "headers": {
        "lang": "py",
        "task": TASK_NAME,
        "id": TASK_ID,
        "eta": None,
        "expires": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": TASK_ID,
        "argsrepr": "('start',)",
        "origin": "gen1@host",
    },
    "properties": {
        "correlation_id": TASK_ID,
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": "configdrive.kvm"},
        "priority": 0,
        "delivery_tag": "tag-1",
    },
}
BODIES: tuple[tuple[str, list[Any]], ...] = (
    (TASK_NAME, [["start", UUID, 1, 1], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]),
    (LEFTOVERS_NAME, [["host-1", 1], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]),
)


@target
def message(random: Random) -> bool:
    """A message on the broker, as kombu has read it: the transport's check, and the task's own."""
    task, body = random.choice(BODIES)
    inner = given(random, body) if random.random() < 0.6 else json.dumps(body).encode()
    whole = {
        **ENVELOPE,
        "headers": ENVELOPE["headers"] | {"task": task},
        "body": inner.decode("utf-8", "replace"),
    }
    outer = whole if random.random() < 0.5 else changed(random, whole)
    problem = problem_of(outer, QUEUE)
    assert problem is None or MARKER not in problem
    if problem is not None:
        return False
    arguments = json.loads(outer["body"])[0]
    (read if outer["headers"]["task"] == TASK_NAME else read_question)(outer["headers"]["id"], arguments, QUEUE)
    return True


@target
def task_arguments(random: Random) -> bool:
    """What Celery hands to a task."""
    identity = random.choice((TASK_ID, strange(random)))
    arguments = changed(random, ["start", UUID, 1, 1])
    arguments = arguments if isinstance(arguments, list) else [arguments]
    return not refused(lambda: read(identity, arguments, QUEUE)) and not refused(
        lambda: read_question(identity, [*arguments[:1], 1], QUEUE)
    )


@target
def host_names(random: Random) -> bool:
    """What names the host that is to be asked for leftovers."""
    name = random.choice(("host-1", strange(random)))
    return not refused(lambda: read_question(TASK_ID, [name, 1], QUEUE))


NAME = ImageName.of(InstanceName("i-2-14-VM"), VM, Generation(7))
PARTS = (
    "cloudstack",
    "password",
    "vm-id.txt",
    "a" * 64,
    "a" * 65,
    "A",
    "..",
    ".",
    "",
    "con",
    "x.",
    "é",
    "a b",
    "\x00",
    "-",
)


@target
def image_contents(random: Random) -> bool:
    """Files of any name and content under any label: an image that reads back, or a refusal."""
    files: Any = {
        "/".join(random.choice(PARTS) for _ in range(random.choice((1, 2, 3, 9)))): random.randbytes(
            random.choice((0, 1, 2_047, 2_048, 2_049, 10_000))
        )
        for _ in range(random.choice((0, 1, 2, 5)))
    } | {"cloudstack/metadata/vm-id.txt": b"14"}
    label = random.choice(("config", "config-2", "x" * 16, "x" * 17, "", "söhne", "a b", MARKER, "\x00"))
    built_at = random.choice((0.0, 1.5e9, 4.0e9))
    return not refused(lambda: build.build(NAME, Files(files), label=label, built_at=built_at))


@cache
def _image() -> tuple[Files, bytes]:
    files = Files({"cloudstack/metadata/vm-id.txt": b"14", "openstack/latest/user_data": b"x" * 5_000})
    return files, build.build(NAME, files, label="config", built_at=1.5e9).content


@target
def image_read_back(random: Random) -> bool:
    """An image, as it was built or with bytes changed: only the former is taken, whatever the latter are."""
    files, whole = _image()
    data = bytearray(whole)
    places = _places()
    for _ in range(random.choice((0, 1, 1, 2, 5))):
        at = random.choice(places)
        data[at] = random.choice((0, 1, 255, data[at] ^ (1 << random.randrange(8)), random.randrange(256)))
    if random.random() < 0.1:
        del data[random.randrange(len(data)) :]
    with suppress(DamagedImageError):
        iso.read(bytes(data))
    try:
        verify(bytes(data), files, "config")
    except PermanentError:
        return False
    if data != whole:
        raise AssertionError("a damaged image was taken")
    return True


@cache
def _places() -> list[int]:
    return [at for at, byte in enumerate(_image()[1]) if byte]
