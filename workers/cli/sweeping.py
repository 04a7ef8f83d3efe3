"""The rounds of `configdrive sweep` and `configdrive adopt` through all storages."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click
import redis

from tasks.wakeup import WakeUps
from workers.cli.context import open_app, open_mailbox
from workers.cli.exits import ExitCode
from workers.cli.logs import begin_logging
from workers.cli.measuring import with_metrics_port
from workers.cli.output import print_json, table
from workers.config.settings import Settings, load_settings
from workers.observability.optional import open_sweeper_metrics
from workers.queueing.app import queues
from workers.worker import Storeroom, make_storerooms

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from configdrive.lifecycle.orphans import Scene
    from configdrive.model import HostName, Place
    from tasks.storage_sweep import Adoption, Finding
    from workers.store.inspection import Census

_log = logging.getLogger("configdrive.sweep")


@dataclass
class _Round:
    """What one round through the storages has found."""

    findings: list[Finding] = field(default_factory=list)
    away: list[HostName] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return bool(self.away) or any(finding.error is not None for finding in self.findings)


def sweep_once(*, dry_run: bool, show_all: bool, as_json: bool) -> ExitCode:
    """Make one round, and say what went or would go."""
    settings = load_settings()
    with _rooms(settings, open_mailbox(settings)) as rooms:
        found = _sweep(rooms, settings, dry_run=dry_run)
    if as_json:
        documents = [_finding(finding) for finding in found.findings]
        print_json({"dry_run": dry_run, "images": documents, "hosts_away": found.away})
    else:
        _show(found, dry_run=dry_run, show_all=show_all)
    return ExitCode.FAILED if found.failed else ExitCode.DONE


def sweep_always(pause: float, ended: threading.Event, metrics_port: int | None = None) -> ExitCode:
    """Make a round every `pause` seconds until told to end; a Redis that is away is waited for."""
    settings = with_metrics_port(load_settings(), metrics_port)
    begin_logging(settings)
    metrics = open_sweeper_metrics(settings)
    _log.info("sweeping all storages every %g s", pause)
    with _rooms(settings, open_mailbox(settings, patient=True)) as rooms:
        while not ended.is_set():
            try:
                found = _sweep(rooms, settings, dry_run=False)
            except redis.RedisError as error:
                _log.warning("the round failed: %s", type(error).__name__)
            else:
                if metrics is not None:
                    metrics.rounds.round(found.findings, len(found.away))
                for finding in found.findings:
                    if finding.why.goes:
                        _log.info("%s %s: %s", _verdict(finding, dry_run=False), finding.image.name, _reason(finding))
            if settings.health_file is not None:
                settings.health_file.touch()
            ended.wait(pause)
    return ExitCode.DONE


def adopt_all(*, dry_run: bool, as_json: bool) -> ExitCode:
    """Remember every VM with a drive or image that is not remembered, and say so."""
    settings = load_settings()
    found: list[Adoption] = []
    away: list[HostName] = []
    with _rooms(settings, open_mailbox(settings)) as rooms:
        for room in rooms:
            seen = room.keeper.look()
            away += sorted(seen.away)
            found += room.keeper.adopt(seen, dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, "vms": [_adoption(one) for one in found], "hosts_away": away})
    else:
        _show_adopted(found, dry_run=dry_run)
        _show_away(away)
    return ExitCode.FAILED if away else ExitCode.DONE


@contextmanager
def _rooms(settings: Settings, mailbox: Census) -> Iterator[list[Storeroom]]:
    rooms = make_storerooms(settings, mailbox, WakeUps(open_app(settings)).send)
    try:
        yield rooms
    finally:
        for room in rooms:
            room.keeper.driver.close()


def _sweep(rooms: list[Storeroom], settings: Settings, *, dry_run: bool) -> _Round:
    found = _Round()
    for room in rooms:
        if not dry_run:
            _collect_leftovers(room, settings)
        seen: Scene = room.keeper.look()
        found.away += sorted(seen.away)
        found.findings += room.keeper.judge_all(seen) if dry_run else room.keeper.sweep(seen)
    return found


def _collect_leftovers(room: Storeroom, settings: Settings) -> None:
    for queue in queues(settings, room.keeper.driver.name):
        for host in room.keeper.mailbox.owed(queue):
            _log.info("%s", room.leftovers.ask(queue, host))


def _show(found: _Round, *, dry_run: bool, show_all: bool) -> None:
    shown = [finding for finding in found.findings if show_all or finding.why.goes]
    if shown:
        rows = [
            (_verdict(one, dry_run=dry_run), str(one.image.name), _where(one.image.place), _reason(one))
            for one in sorted(shown, key=lambda one: (one.why.goes, str(one.image)))
        ]
        table(("", "image", "storage", "why"), rows)
    going = [finding for finding in found.findings if finding.why.goes]
    deleted = sum(finding.deleted for finding in going)
    did = f"{len(going)} would go; nothing was deleted" if dry_run else f"{deleted} of {len(going)} deleted"
    click.echo(f"{len(found.findings)} images: {len(found.findings) - len(going)} stay, {did}")
    _show_away(found.away)


def _show_away(away: list[HostName]) -> None:
    if away:
        click.echo(f"not answering: {', '.join(away)}; what they may need was left alone", err=True)


def _show_adopted(found: list[Adoption], *, dry_run: bool) -> None:
    rows = []
    for one in found:
        vm, image = one.record.vm, one.record.image
        if vm is None or image is None:
            continue
        places = ", ".join(map(_where, one.record.places)) or "-"
        what = one.why_not or ("would be remembered" if dry_run else "remembered")
        rows.append((one.uuid, vm.instance_name, vm.host, one.record.phase.value, str(image.generation), places, what))
    if rows:
        table(("VM", "instance", "host", "drive", "generation", "storage", ""), rows)
    new = sum(not one.why_not for one in found)
    click.echo(f"{len(found)} VMs with a drive or an image: {new} {'would be ' if dry_run else ''}adopted")


def _verdict(finding: Finding, *, dry_run: bool) -> str:
    if not finding.why.goes:
        return "stays"
    if dry_run:
        return "goes"
    return "deleted" if finding.deleted else "failed"


def _reason(finding: Finding) -> str:
    return finding.why.value if finding.error is None else f"{finding.why.value}; {finding.error}"


def _where(place: Place) -> str:
    return f"{place.storage}@{place.host or 'shared'}"


def _finding(finding: Finding) -> dict[str, Any]:
    error = finding.error
    return {
        "image": str(finding.image.name),
        "vm": finding.image.name.vm_uuid,
        "storage": finding.image.place.storage,
        "storage_host": finding.image.place.host,
        "goes": finding.why.goes,
        "why": finding.why.name.lower(),
        "deleted": finding.deleted,
        "error": None if error is None else {"code": error.code, "detail": error.detail, "remedy": error.remedy},
    }


def _adoption(one: Adoption) -> dict[str, Any]:
    vm, image = one.record.vm, one.record.image
    return {
        "vm": one.uuid,
        "instance_name": None if vm is None else vm.instance_name,
        "host": None if vm is None else vm.host,
        "phase": one.record.phase.value,
        "generation": None if image is None else image.generation,
        "places": [_where(place) for place in one.record.places],
        "adopted": not one.why_not,
        "why_not": one.why_not or None,
    }
