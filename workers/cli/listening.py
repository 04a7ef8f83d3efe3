"""What `configdrive cloudstack` does, with the parts that it takes."""

from __future__ import annotations

import logging
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from configdrive.errors import PermanentCode, PermanentError
from workers.cli.context import open_app, open_mailbox
from workers.cli.exits import ExitCode
from workers.cli.logs import begin_logging
from workers.cli.output import print_json
from workers.cloudstack.adapter import Result
from workers.cloudstack.life import Life
from workers.cloudstack.wiring import make_adapter
from workers.config.settings import load_settings
from workers.observability.optional import open_adapter_metrics

if TYPE_CHECKING:
    import threading

    from workers.cloudstack.adapter import Adapter, Taken
    from workers.config.cloudstack import CloudStackSettings
    from workers.config.settings import Settings

_log = logging.getLogger("configdrive.cloudstack")


def listen_to_bus(ended: threading.Event) -> ExitCode:
    """Take messages from RabbitMQ until told to end.

    Raises:
        PermanentError: `MISCONFIGURED` or `ACCESS_DENIED`.
    """
    from workers.cloudstack.amqp import BusDoor

    settings = load_settings()
    own = settings.cloudstack
    if own.amqp_url is None:
        remedy = "give RabbitMQ's address: amqps://user:password@rabbit.example:5671/"
        raise PermanentError(PermanentCode.MISCONFIGURED, "cloudstack.amqp_url: is not set", remedy)
    begin_logging(settings)
    # Not patient: the door itself tries again, and gives its sign of life between two attempts.
    adapter = _open_adapter(settings, "amqp", patient=False)
    door = BusDoor(
        adapter,
        own.amqp_url.get_secret_value(),
        exchange=own.amqp_exchange,
        queue=own.amqp_queue,
        ca_file=own.amqp_ca_file,
    )
    door.run(Life(ended, settings.health_file))
    return _told(adapter)


def serve_webhooks(address: str, port: int, ended: threading.Event) -> ExitCode:
    """Serve webhooks until told to end.

    Raises:
        PermanentError: `MISCONFIGURED` or `ACCESS_DENIED`.
    """
    try:
        from workers.cloudstack.webhook import serve
    except ImportError as error:
        detail = f"webhooks need the module {error.name!r}, which is not installed"
        remedy = "pip install 'configdrive-fleet[cloudstack]'"
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, remedy) from None
    from workers.config.secret_files import read_secret

    settings = load_settings()
    secret = read_secret(settings.cloudstack.webhook_secret_file, "cloudstack.webhook_secret_file")
    begin_logging(settings)
    adapter = _open_adapter(settings, "webhook", patient=False)
    serve(
        adapter,
        secret=secret,
        address=address,
        port=port,
        certificate=_certificate(settings.cloudstack),
        life=Life(ended, settings.health_file),
    )
    return _told(adapter)


def read_notices(file: str, ended: threading.Event, *, as_json: bool) -> ExitCode:
    """Take the notices in a file, and say what became of each.

    Raises:
        PermanentError: `MISCONFIGURED` or `ACCESS_DENIED`.
    """
    from workers.cloudstack.stdin import take_lines

    settings = load_settings()
    adapter = _open_adapter(settings, "read", patient=True)
    with ExitStack() as stack:
        stream = sys.stdin.buffer if file == "-" else stack.enter_context(Path(file).open("rb"))
        for number, taken in take_lines(stream, adapter, Life(ended)):
            _show(number, taken, as_json=as_json)
    if not as_json:
        click.echo(_tally(adapter))
    return ExitCode.FAILED if adapter.tally[Result.BURIED] else ExitCode.DONE


def _open_adapter(settings: Settings, origin: str, *, patient: bool) -> Adapter:
    mailbox = open_mailbox(settings, patient=patient)
    metrics = None if origin == "read" else open_adapter_metrics(settings, origin, tuple(Result))
    watch = None if metrics is None else metrics.notices.count
    return make_adapter(settings, open_app(settings), mailbox, origin, watch)


def _certificate(settings: CloudStackSettings) -> tuple[Path, Path] | None:
    files = settings.webhook_certificate, settings.webhook_certificate_key
    match files:
        case None, None:
            return None
        case Path() as certificate, Path() as key:
            return certificate, key
        case _:
            detail = "cloudstack.webhook_certificate: needs webhook_certificate_key, and the other way round"
            raise PermanentError(PermanentCode.MISCONFIGURED, detail)


def _show(number: int, taken: Taken, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "line": number,
                "result": taken.result.value,
                "reason": taken.reason,
                "vm": taken.vm,
                "events": list(taken.events),
            },
            lines=True,
        )
        return
    about = f" of VM {taken.vm}" if taken.vm else ""
    click.echo(f"line {number}{about}: {taken.result}: {taken.reason}")


def _told(adapter: Adapter) -> ExitCode:
    _log.info("ended: %s", _tally(adapter))
    return ExitCode.DONE


def _tally(adapter: Adapter) -> str:
    return ", ".join(f"{count} {result}" for result, count in sorted(adapter.tally.items())) or "nothing"
