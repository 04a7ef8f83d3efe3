"""`configdrive wake`: the wake-up pass that every worker makes all the time, by hand or as a process of its own."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from workers.cli.context import load_settings, open_mailbox
from workers.cli.errors import ExitCode
from workers.cli.options import json_option
from workers.cli.output import ago, print_json
from workers.cli.process import begin_logging, until_term
from workers.cli.progress import watched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tasks.mailbox import Sent
    from tasks.wakeup import Pass
    from workers.config.settings import Settings
    from workers.store.inspection import Inspection

_log = logging.getLogger("configdrive.wakeup")
_HANDED_OVER_SECONDS = 5.0


@click.command(short_help="Send wake-ups that are missing or due.")
@click.option("--dry-run", is_flag=True, help="Only say which VMs' time has come.")
@click.option(
    "--every", "pause", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Again and again, until TERM."
)
@json_option
def wake(pause: float | None, *, dry_run: bool, as_json: bool) -> ExitCode:
    """Find events whose wake-up was lost or whose pause is over, on all queues, and wake workers for them.

    Hosts that were away and still have something of a VM are asked again, too.

    Every worker does so for its own queues each second, so by hand it is needed only while no worker runs. With --every
    it is a small process that serves all queues and needs neither inventory nor keys; it takes from the intake, too.

    \b
    Examples:
      configdrive wake --dry-run
      configdrive wake
      configdrive wake --every 1
    """
    if pause is None:
        return _wake_once(dry_run=dry_run, as_json=as_json)
    if dry_run or as_json:
        raise click.UsageError("--every goes with neither --dry-run nor --json")
    return _wake_always(pause, until_term())


def _wake_once(*, dry_run: bool, as_json: bool) -> ExitCode:
    settings = load_settings()
    mailbox = open_mailbox(settings)
    if dry_run:
        _show_overdue(mailbox, _queues(mailbox, settings), as_json=as_json)
        return ExitCode.DONE
    sent = _pass(mailbox, settings, at_once=True, hidden=as_json)
    if as_json:
        hosts = [{"queue": queue, "host": host} for queue, host in sent.hosts]
        print_json({"wakeups": [_document(one) for one in sent.wakeups], "hosts": hosts})
    else:
        for one in sent.wakeups:
            click.echo(f"sent  {_words(one)}")
        for queue, host in sent.hosts:
            click.echo(f"asked host {host} on {queue}")
        click.echo(f"{len(sent.wakeups)} wake-ups sent")
    return ExitCode.DONE


def _wake_always(pause: float, ended: threading.Event) -> ExitCode:
    """Make a pass every `pause` seconds until asked to end, and take from the intake. Redis may be away."""
    import redis

    settings = load_settings(says_ignored=True)
    begin_logging(settings)
    mailbox = open_mailbox(settings, patient=True)
    _log.info("waking on all queues every %g s", pause)
    with _ingesting(settings, ended):
        while not ended.is_set():
            try:
                for one in _pass(mailbox, settings).wakeups:
                    _log.info("sent %s", _words(one))
            except redis.RedisError as error:
                _log.warning("the pass failed: %s", type(error).__name__)
            if settings.health_file is not None:  # also without Redis: a new process would not have it either
                settings.health_file.touch()
            ended.wait(pause)
    return ExitCode.DONE


@contextmanager
def _ingesting(settings: Settings, ended: threading.Event) -> Iterator[None]:
    """Take from the intake meanwhile, unless the settings turn that off."""
    from workers.store.intake import make_ingester

    ingester = make_ingester(settings)
    if ingester is None:
        yield
        return
    thread = threading.Thread(target=ingester.run, args=(ended,), name="intake", daemon=True)
    thread.start()
    yield
    thread.join(_HANDED_OVER_SECONDS)


def _queues(mailbox: Inspection, settings: Settings) -> list[str]:
    """Return every queue that ever had an event, and those that may come to have one."""
    from workers.config.hypervisors import queues

    return sorted({*queues(settings), *mailbox.pending()})


def _pass(mailbox: Inspection, settings: Settings, *, at_once: bool = False, hidden: bool = True) -> Pass:
    from tasks.wakeup import wake_due

    queues = _queues(mailbox, settings)
    shown = watched(queues, "waking on queues", len(queues), hidden=hidden)
    return wake_due(mailbox, shown, pause=settings.leftover_seconds, at_once=at_once)


def _show_overdue(mailbox: Inspection, names: list[str], *, as_json: bool) -> None:
    found = [(name, uuid, due) for name in names for uuid, due in mailbox.overdue(name)]
    if as_json:
        print_json({"overdue": [{"queue": name, "vm_uuid": uuid, "due": due} for name, uuid, due in found]})
        return
    for name, uuid, due in found:
        click.echo(f"due   {uuid} on {name}, " + ("its wake-up was lost" if due is None else ago(due)))
    click.echo(f"{len(found)} VMs are due; nothing was sent")


def _document(sent: Sent) -> dict[str, object]:
    header = sent.header
    return {
        "vm_uuid": header.vm_uuid,
        "event_id": header.event_id,
        "source": header.source,
        "type": header.event_type,
        "queue": header.queue,
        "attempt": sent.attempt,
    }


def _words(sent: Sent) -> str:
    header = sent.header
    return f"{header.event_type} #{header.sequence} of VM {header.vm_uuid} on {header.queue}, attempt {sent.attempt}"
