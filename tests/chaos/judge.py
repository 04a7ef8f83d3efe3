"""What must be true after a storm, and of each moment of it: every check says what it has found wrong.

The checks read plain data (audit lines, outcomes, what Redis holds), so that each can be tried on forged data.
"""

import signal
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from configdrive.contract.outcome import Outcome
from configdrive.model import EventKey, ImageName, VmUuid
from rigs.simulated.audit import Entry, Mark
from rigs.simulated.spans import Span
from tests.chaos.model import Finding, Model, in_order, unlike
from tests.chaos.troubles import Freeze
from tests.e2e.known_secrets import PASSWORD, USER_DATA, betrayed

MORE_MESSAGES = 100
"""Messages in Celery's list beyond one for each VM that waits."""

FRESH_TIMES = 10
"""An event of another VM right after a storm takes at most so many times as long as one before it: children that have
just begun still import their drivers."""

WORDS = (PASSWORD, USER_DATA)
"""What all secrets of a storm contain."""


def one_end_each(published: Mapping[str, Sequence[EventKey]], outcomes: Sequence[Outcome]) -> Iterator[Finding]:
    """Each event has exactly one final outcome, nothing else has any, and those of a VM come in order.

    Args:
        published: the keys of each VM's events, oldest first.
        outcomes: the whole stream.
    """
    final = [outcome.key for outcome in outcomes if outcome.final]
    counts = Counter(final)
    for uuid, ids in published.items():
        for event in ids:
            if counts[event] != 1:
                yield Finding("one end", f"event {event} of VM {uuid} has {counts[event]} final outcomes")
        if not in_order(ids, final):
            yield Finding("order", f"the events of VM {uuid} ended in another order than they were published")
    known = {event for ids in published.values() for event in ids}
    for event in counts.keys() - known:
        yield Finding("one end", f"event {event} was never published, and has an outcome")


def own_drives_only(entries: Iterable[Entry]) -> Iterator[Finding]:
    """No VM ever has another's image in any drive, and what is attached is never older than what was."""
    newest: dict[str, int] = {}
    for entry in entries:
        if entry.mark is not Mark.CHANGE or entry.after is None or "config" not in entry.after:
            continue
        for drives in (entry.after["live"], entry.after["config"]):
            assert isinstance(drives, dict)
            for medium in drives.values():
                name = None if medium is None else ImageName.parse(str(medium).rpartition("/")[2])
                if name is not None and name.vm_uuid != entry.vm:
                    yield Finding("own drive", f"VM {entry.vm} was given {name} by {entry.verb} at {entry.tick}")
        if entry.verb == "attach":
            own = ImageName.parse(str(_configured(entry.after)).rpartition("/")[2])
            if own is None:
                continue
            if own.generation < newest.get(entry.vm, -1):
                yield Finding("own drive", f"VM {entry.vm} was given {own} after {newest[entry.vm]} at {entry.tick}")
            newest[entry.vm] = max(newest.get(entry.vm, -1), own.generation)


def _configured(fact: Mapping[str, Any]) -> object:
    return next((medium for device, medium in fact["config"].items() if medium and device in {"hdd", "vdz"}), None)


def right_content(kept: Iterable[Path], models: Mapping[str, Model]) -> Iterator[Finding]:
    """Every image that was ever in a drive held what its VM was to find by then, and nothing of any other VM."""
    for path in kept:
        name = ImageName.parse(path.name.rpartition(".")[0])
        model = None if name is None else models.get(name.vm_uuid)
        if name is None or model is None:
            yield Finding("content", f"{path.name} was attached, and is no VM's")
            continue
        for problem in unlike(path.read_bytes(), model.contents.get(name.generation), model.life):
            yield Finding("content", f"{name} was attached with {problem}", model.life.number)


def was_frozen(span: Span, freezes: Iterable[Freeze], lease: int) -> bool:
    """Whether a process stood still within a verb, or just before it, so long that its lease may have run out.

    No hypervisor knows fencing tokens: what such a process was about to do, it does when it goes on. Until it has said
    so, and the VM was verified, that may be seen.
    """
    return any(
        span.pid in freeze.pids
        and freeze.until - freeze.since > lease / 2
        and freeze.since - lease < span.end
        and freeze.until > span.begin - lease
        for freeze in freezes
    )


def died_unheard(span: Span, last: Mapping[tuple[int, int], int]) -> bool:
    """Whether a process did nothing more after a verb: one that stood still within it has reported nothing of it.

    `last` is the tick of each process' and thread's last line.
    """
    return last.get((span.pid, span.thread), 0) <= span.end


def no_overlap(spans: Mapping[str, Sequence[Span]], freezes: Sequence[Freeze], lease: int) -> Iterator[Finding]:
    """Never are two processes at one VM at once: but where the first one's verb took longer than its lease.

    `lease` is in nanoseconds.
    """
    for uuid, found in spans.items():
        for index, first in enumerate(found):
            for second in found[index + 1 :]:
                if second.begin >= first.end or (first.pid, first.thread) == (second.pid, second.thread):
                    continue
                late = second.begin - first.begin > lease
                if not late and not any(was_frozen(span, freezes, lease) for span in (first, second)):
                    yield Finding("overlap", f"VM {uuid}: {first} and {second}")


def nothing_waits(keyspace: Mapping[str, Any]) -> Iterator[Finding]:
    """Redis is at rest: no mail, nothing due or parked, no leftover, no lease."""
    for key, value in keyspace.items():
        kind = key.partition(":")[0]
        if kind in {"mail", "body", "due", "parked", "left", "verify", "dead", "orphans"}:
            yield Finding("at rest", f"{key} is left: {str(value)[:200]}")
        if kind == "vm" and (unrest := {"owner", "until", "attempts", "deaths", "parked", "retry_at"} & set(value)):
            yield Finding("at rest", f"{key} is not at rest: {sorted(unrest)}")


def nothing_of(gone: Iterable[VmUuid], keyspace: Mapping[str, Any], files: Collection[str]) -> Iterator[Finding]:
    """A destroyed VM has nothing anywhere, but a tombstone without any box."""
    for uuid in gone:
        for name in files:
            if uuid in name:
                yield Finding("gone", f"VM {uuid} is destroyed, and {name} is there")
        for key, value in keyspace.items():
            if uuid in key and (key != f"vm:{uuid}" or '"sealed":' in value.get("state", "")):
                yield Finding("gone", f"VM {uuid} is destroyed, and {key} is left")


def remembered(
    models: Iterable[Model], states: Mapping[str, tuple[Mapping[str, Any], tuple[str | None, str | None]]]
) -> Iterator[Finding]:
    """What the fleet remembers of each VM is what is true; `states` is each one's record, and its opened passwords."""
    for model in models:
        if model.state.unsettled or not model.state.known:
            continue
        found = states.get(model.life.uuid)
        state = model.state
        if found is None:
            yield Finding("remembered", f"nothing of VM {model.life.uuid}", model.life.number)
            continue
        record, passwords = found
        phase = (
            "gone"
            if state.gone
            else "attached"
            if state.attached
            else "staged"
            if state.generation is not None
            else "absent"
        )
        wanted = {"sequence": state.sequence, "phase": phase, "generation": state.generation, "host": state.host}
        image, vm = record.get("image"), record.get("vm")
        is_ = {
            "sequence": record.get("sequence", -1),
            "phase": record.get("phase", "absent"),
            "generation": image and image["generation"],
            "host": state.host if vm is None and state.gone else vm and vm["host"],
        }
        if wanted != is_:
            yield Finding("remembered", f"VM {model.life.uuid} as {is_}, not {wanted}", model.life.number)
        if passwords != (state.pending, state.carried):
            yield Finding(
                "remembered",
                f"VM {model.life.uuid} with the passwords {passwords}, not {(state.pending, state.carried)}",
                model.life.number,
            )


def no_orphans(
    files: Iterable[str], wanted: Iterable[str], swept: Iterable[str], excused: Iterable[VmUuid]
) -> Iterator[Finding]:
    """No image is left that no VM needs; nor was one that only the sweep took away, but where that was to be expected.

    Args:
        files: what lies on all storages.
        wanted: what shall.
        swept: the images that a sweep has deleted.
        excused: VMs of which an event was given up by a person, or that were not yet verified.
    """
    needed, others = Counter(wanted), set(excused)
    for name, count in Counter(files).items():
        if count > needed[name]:
            yield Finding("orphan", f"{name} is left on {count} storages, not on {needed[name]}")
    for name in swept:
        image = ImageName.parse(name)
        if image is not None and image.vm_uuid not in others:
            yield Finding("orphan", f"{name} was left until a sweep came by")


def no_backlog(excess: int, fresh: Sequence[float], idle: Sequence[float]) -> Iterator[Finding]:
    """Celery's list was never much longer than VMs were waiting, and who comes after the storm waits for nobody.

    `fresh` and `idle` are seconds from publishing to the outcome, after the storm and before it.
    """
    if excess > MORE_MESSAGES:
        yield Finding("backlog", f"{excess} messages more than VMs that wait")
    if fresh and idle and median(fresh) > FRESH_TIMES * median(idle):
        yield Finding("backlog", f"an event takes {median(fresh):.2f} s after the storm, {median(idle):.2f} s before")


def no_end_unasked(ends: Iterable[int | None], asked: int) -> Iterator[Finding]:
    """No worker ends but by a kill, or as often as one was asked to: `ends` are exit codes."""
    others = [code for code in ends if code != -signal.SIGKILL]
    if len(others) > asked:
        yield Finding("worker", f"workers ended with {others}, and {asked} were asked to")


def no_secret(places: Mapping[str, bytes]) -> Iterator[Finding]:
    """Nothing that a spy can read holds a secret."""
    for name, content in places.items():
        if words := betrayed(content, WORDS):
            yield Finding("secret", f"{name} betrays {words}")


def no_core(*folders: Path) -> Iterator[Finding]:
    """No crashed process has left what was in its memory."""
    for folder in folders:
        for path in folder.glob("core*"):
            if path.is_file():
                yield Finding("core", f"{path} is left")


def calm_logs(logs: Mapping[str, str]) -> Iterator[Finding]:
    """No worker met an exception that nobody had foreseen."""
    for name, log in logs.items():
        for line in log.splitlines():
            if "unforeseen" in line:
                yield Finding("log", f"{name}: {line[:500]}")
