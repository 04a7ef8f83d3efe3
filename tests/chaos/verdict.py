"""All checks of the judge on what a storm has left."""

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from configdrive.lifecycle import state
from configdrive.model import VmUuid
from rigs.cloud import plain
from rigs.running_files import read_files_below
from rigs.simulated.audit import KEPT
from rigs.simulated.spans import CHANGING, spans_of
from tests.chaos import judge
from tests.chaos.model import Finding, Model
from tests.chaos.plan import Kind
from tests.chaos.storm import LEASE_NS, Left
from tests.chaos.troubles import BALLAST
from workers.config.key_ring import make_sealer


def verdict(left: Left) -> list[Finding]:
    """Return all that is wrong; what was found during the storm comes first."""
    return list(dict.fromkeys(chain(left.findings, _checks(left))))


def _checks(left: Left) -> Iterator[Finding]:
    entries = left.cloud.audit()
    models: dict[str, Model] = {one.life.uuid: one.model for one in left.orchestrators}
    keyspace = left.witness.keyspace.values
    spans = spans_of(entries, CHANGING)
    freezes = left.freezes
    unheard = {VmUuid(uuid) for uuid in spans if left.died_unheard(VmUuid(uuid))}
    excused = unheard | {one.life.uuid for one in left.orchestrators if one.model.skipped or one.left_behind}
    frozen = {
        VmUuid(uuid)
        for uuid, found in spans.items()
        if any(judge.was_frozen(span, freezes, LEASE_NS) for span in found)
    }
    swept = [
        entry.image
        for entry in entries
        if entry.pid in left.chronicle.sweeps and entry.verb == "delete" and entry.mark == "change" and entry.image
    ]
    files = [plain(path.name) for path in left.cloud.world.files() if path.name != BALLAST]
    wanted = [
        f"{model.life.name}.{uuid}.{model.state.generation}.iso" for uuid, model in models.items() for _ in model.places
    ]
    yield from judge.one_end_each({one.life.uuid: one.ids for one in left.orchestrators}, left.outcomes)
    yield from judge.own_drives_only(entries)
    yield from judge.right_content(sorted((left.cloud.directory / KEPT).iterdir()), models)
    yield from judge.no_overlap(spans, freezes, LEASE_NS)
    yield from judge.nothing_waits(keyspace)
    yield from judge.nothing_of([model.life.uuid for model in models.values() if model.state.gone], keyspace, files)
    yield from judge.remembered(models.values(), _states(left))
    yield from judge.no_orphans(files, wanted, swept, excused | frozen)  # a sweep may come before the verification
    yield from judge.no_orphans((), (), left.swept, excused)
    yield from judge.no_backlog(left.excess, left.fresh, left.idle)
    yield from judge.no_end_unasked(left.ends, left.chronicle.counts.get(Kind.TERM_MAIN, 0))
    yield from judge.no_secret(_readable_by_spies(left))
    yield from judge.no_core(Path.cwd(), left.fleet.directory)
    yield from judge.calm_logs({worker.name: worker.log for worker in left.fleet.workers})


def _states(left: Left) -> dict[str, tuple[dict[str, Any], tuple[str | None, str | None]]]:
    sealer = make_sealer(left.fleet.settings)
    found = {}
    for uuid, known in left.witness.keyspace.named("vm").items():
        if "state" in known:
            passwords = state.load(known["state"], sealer, VmUuid(uuid)).passwords
            pending, carried = (
                None if word is None else word.get_secret_value() for word in (passwords.pending, passwords.carried)
            )
            found[uuid] = (json.loads(known["state"]), (pending, carried))
    return found


def _readable_by_spies(left: Left) -> dict[str, bytes]:
    """Return all that is not the hypervisors' own: Redis and its files, logs, Celery's events, temporary folders."""
    places = {f"Redis' {key}": repr(value).encode() for key, value in left.witness.keyspace.values.items()}
    places["Celery's events"] = left.witness.heard
    places["processes"] = b"\n".join(left.witness.processes)
    for path, content in read_files_below(left.fleet.directory):
        if not path.is_relative_to(left.cloud.directory):
            places[str(path.relative_to(left.fleet.directory))] = content
    return places
