"""`configdrive sweep`: the storage sweep, which deletes the images that no VM needs any more."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from workers.cli.context import load_settings, open_mailbox
from workers.cli.errors import ExitCode
from workers.cli.options import json_option, metrics_port_option
from workers.cli.output import print_json, table, where
from workers.cli.process import begin_logging, until_term, with_metrics_port
from workers.cli.progress import bar, watched

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from configdrive.lifecycle.orphans import Scene
    from configdrive.model import HostName
    from tasks.mailbox import SweepCounts
    from tasks.storage_sweep import Finding, StorageSweeper
    from workers.config.settings import Settings
    from workers.store.inspection import Inspection

_log = logging.getLogger("configdrive.storage_sweep")


@click.command(short_help="Delete images that no VM needs any more.")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted, and why.")
@click.option("--all", "show_all", is_flag=True, help="List the images that stay as well.")
@click.option("--hypervisor", metavar="NAME", help="Only the storages of this one's hosts.")
@click.option("--deep", is_flag=True, help="Look into every directory of a datastore (vSphere); it takes a while.")
@click.option("--drives", is_flag=True, help="Only have the drives filled that a host has left empty.")
@click.option("--every", "pause", type=click.FloatRange(min=1), metavar="SECONDS", help="Again and again, until TERM.")
@metrics_port_option
@json_option
def sweep(  # noqa: PLR0913 - a parameter for each option
    hypervisor: str | None,
    pause: float | None,
    metrics_port: int | None,
    *,
    dry_run: bool,
    show_all: bool,
    deep: bool,
    drives: bool,
    as_json: bool,
) -> ExitCode:
    """Look at every storage of every host in the inventory, and delete what belongs to no VM as it is now.

    That is: images of destroyed and stopped VMs, older images, copies that a migration has left. An image in any VM's
    drive stays, whatever is remembered; so does one that a host may need which does not answer, and every file that is
    not an image of the fleet by its name. An image whose VM neither the fleet nor any host knows goes once it has been
    seen so for a day (the setting orphan_seconds). What hosts could not give up while they were away goes first.

    On vSphere an image may lie in its VM's own directory. One that is in no drive there, and of which nothing is
    remembered any more, is found with --deep only.

    With --drives nothing is deleted: running VMs are looked for whose drive is empty because their host could not look
    at the image when they came up (KVM: startupPolicy). Workers fill them again.

    After a loss of Redis, run `configdrive adopt` before. The exit code is 1 when a host did not answer or an image
    could not be deleted.

    \b
    Examples:
      configdrive sweep --dry-run
      configdrive sweep
      configdrive sweep --deep --hypervisor vmware
      configdrive sweep --every 3600 --metrics-port 9109
    """
    if drives and (dry_run or show_all or deep or pause is not None):
        raise click.UsageError("--drives goes with --hypervisor and --json only")
    if drives:
        return _fill_drives(hypervisor, as_json=as_json)
    if pause is None:
        if metrics_port is not None:
            raise click.UsageError("--metrics-port goes with --every only")
        return _sweep_once(hypervisor, dry_run=dry_run, deep=deep, show_all=show_all, as_json=as_json)
    if dry_run or as_json or show_all or deep:
        raise click.UsageError("--every goes with none of --dry-run, --all, --deep and --json")
    return _sweep_always(hypervisor, pause, until_term(), metrics_port)


def _fill_drives(hypervisor: str | None, *, as_json: bool) -> ExitCode:
    settings = load_settings()
    with storages(settings, open_mailbox(settings), hypervisor) as sweepers:
        found = [one for sweeper in sweepers for one in sweeper.dropped()]
    if as_json:
        print_json({"drives": [{"vm_uuid": uuid, "host": host, "image": str(image)} for uuid, host, image in found]})
    else:
        table(("VM", "host", "image"), [(uuid, host, str(image)) for uuid, host, image in found])
        click.echo(f"{len(found)} drives are to be filled" if found else "every running VM has its drive")
    return ExitCode.DONE


@dataclass
class _Round:
    """What one round through the storages has found."""

    findings: list[Finding] = field(default_factory=list)
    away: list[HostName] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return bool(self.away) or any(finding.error is not None for finding in self.findings)


def _sweep_once(hypervisor: str | None, *, dry_run: bool, deep: bool, show_all: bool, as_json: bool) -> ExitCode:
    settings = load_settings()
    with storages(settings, open_mailbox(settings), hypervisor) as sweepers:
        found = _sweep(sweepers, settings, dry_run=dry_run, deep=deep, hidden=as_json)
    if as_json:
        documents = [_finding(finding) for finding in found.findings]
        print_json({"dry_run": dry_run, "images": documents, "hosts_away": found.away})
    else:
        _show(found, dry_run=dry_run, show_all=show_all)
    return ExitCode.FAILED if found.failed else ExitCode.DONE


def _sweep_always(hypervisor: str | None, pause: float, ended: threading.Event, metrics_port: int | None) -> ExitCode:
    """Make a round every `pause` seconds until asked to end; a Redis that is away is waited for."""
    import redis

    from workers.observability.optional import open_sweeper_metrics

    settings = with_metrics_port(load_settings(says_ignored=True), metrics_port)
    begin_logging(settings)
    open_sweeper_metrics(settings)
    _log.info("sweeping all storages every %g s", pause)
    with storages(settings, open_mailbox(settings, patient=True), hypervisor) as sweepers:
        while not ended.is_set():
            try:
                found = _sweep(sweepers, settings, dry_run=False, hidden=True)
            except redis.RedisError as error:
                _log.warning("the round failed: %s", type(error).__name__)
            else:
                for finding in found.findings:
                    if finding.why.goes:
                        _log.info("%s %s: %s", _verdict(finding, dry_run=False), finding.image.name, _reason(finding))
            if settings.health_file is not None:
                settings.health_file.touch()
            ended.wait(pause)
    return ExitCode.DONE


@contextmanager
def storages(settings: Settings, mailbox: Inspection, hypervisor: str | None = None) -> Iterator[list[StorageSweeper]]:
    """Yield what goes through the storages, one for each hypervisor, and close its connections at the end."""
    from configdrive.model import HypervisorName
    from workers.worker import make_storage_sweepers

    sweepers = make_storage_sweepers(settings, mailbox, None if hypervisor is None else HypervisorName(hypervisor))
    try:
        yield sweepers
    finally:
        for sweeper in sweepers:
            sweeper.driver.close()


def looked(sweeper: StorageSweeper, *, deep: bool, hidden: bool) -> Scene:
    """Look at all hosts of one hypervisor, with a progress bar unless it is hidden."""
    with bar(f"looking at hosts of {sweeper.driver.name}", len(sweeper.driver.hosts()), hidden=hidden) as advance:
        return sweeper.look(deep=deep, progress=advance)


def _sweep(
    sweepers: list[StorageSweeper], settings: Settings, *, dry_run: bool, hidden: bool, deep: bool = False
) -> _Round:
    from workers.config.hypervisors import queues

    found = _Round()
    for sweeper in sweepers:
        if not dry_run:
            for answer in sweeper.leftovers.ask_all(queues(settings, sweeper.driver.name)):
                _log.info("%s", answer)
        seen = looked(sweeper, deep=deep, hidden=hidden)
        found.away += sorted(seen.away)
        judged = sweeper.judge_all(seen) if dry_run else sweeper.sweep(seen)
        findings = list(watched(judged, "images", len(seen.images), hidden=hidden))
        found.findings += findings
        if not dry_run:
            sweeper.mailbox.note_sweep(sweeper.driver.name, _counts(findings, len(seen.away)))
    return found


def _counts(findings: list[Finding], away: int) -> SweepCounts:
    from tasks.mailbox import SweepCounts

    return SweepCounts(
        images=dict(Counter(one.why.name.lower() for one in findings)),
        away=away,
        rounds=1,
        deleted=dict(Counter(one.why.name.lower() for one in findings if one.deleted)),
        failed=dict(Counter(str(one.error.code) for one in findings if one.error is not None)),
    )


def _show(found: _Round, *, dry_run: bool, show_all: bool) -> None:
    shown = [finding for finding in found.findings if show_all or finding.why.goes]
    if shown:
        rows = [
            (_verdict(one, dry_run=dry_run), str(one.image.name), where(one.image.place), _reason(one))
            for one in sorted(shown, key=lambda one: (one.why.goes, str(one.image)))
        ]
        table(("", "image", "storage", "why"), rows)
    going = [finding for finding in found.findings if finding.why.goes]
    deleted = sum(finding.deleted for finding in going)
    did = f"{len(going)} would go; nothing was deleted" if dry_run else f"{deleted} of {len(going)} deleted"
    click.echo(f"{len(found.findings)} images: {len(found.findings) - len(going)} stay, {did}")
    show_away(found.away)


def show_away(away: list[HostName]) -> None:
    """Say which hosts did not answer."""
    if away:
        click.echo(f"not answering: {', '.join(away)}; what they may need was left alone", err=True)


def _verdict(finding: Finding, *, dry_run: bool) -> str:
    if not finding.why.goes:
        return "stays"
    if dry_run:
        return "goes"
    return "deleted" if finding.deleted else "failed"


def _reason(finding: Finding) -> str:
    return finding.why.value if finding.error is None else f"{finding.why.value}; {finding.error}"


def _finding(finding: Finding) -> dict[str, Any]:
    error = finding.error
    return {
        "image": str(finding.image.name),
        "vm_uuid": finding.image.name.vm_uuid,
        "storage": finding.image.place.storage,
        "storage_host": finding.image.place.host,
        "goes": finding.why.goes,
        "why": finding.why.name.lower(),
        "deleted": finding.deleted,
        "error": None if error is None else {"code": error.code, "detail": error.detail, "remedy": error.remedy},
    }
