"""`configdrive cloudstack`: the adapter for Apache CloudStack, one command for each way in which its notices come."""

from __future__ import annotations

import logging
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from configdrive.errors import PermanentCode, PermanentError
from workers.cli.context import load_settings, open_mailbox
from workers.cli.errors import ExitCode
from workers.cli.options import InOrder, json_option
from workers.cli.output import print_json
from workers.cli.process import begin_logging, until_term
from workers.config.extras import how_to_install

if TYPE_CHECKING:
    from workers.cloudstack.adapter import Adapter, Taken
    from workers.config.settings import Settings

_log = logging.getLogger("configdrive.cloudstack")


@click.group(cls=InOrder, short_help="Take what CloudStack publishes, as events.")
def cloudstack() -> None:
    """Take what Apache CloudStack publishes about its VMs, and publish events from it.

    CloudStack says that something happened; what the drive holds, and where it belongs, is asked from its API, with
    the keys in CONFIGDRIVE_CLOUDSTACK__KEY_FILE. Notices may come doubled, late, out of order, and by several ways at
    once. docs/how-to/cloudstack.md says how to set CloudStack up, and what leads to what.

    \b
    Examples:
      configdrive cloudstack amqp
      configdrive cloudstack webhook --address 0.0.0.0 --port 8443
      kcat -b kafka.example -G configdrive cloudstack -u | configdrive cloudstack read -
    """


@cloudstack.command(short_help="Take them from CloudStack's event bus on RabbitMQ.")
def amqp() -> ExitCode:
    """Take notices from CloudStack's event bus on RabbitMQ, until TERM.

    A durable queue collects them while no adapter runs; a message is acknowledged once its event is stored. This is the
    way that misses nothing: state changes and passwords come by the bus only. Several may run at once.

    \b
    Example:
      export CONFIGDRIVE_CLOUDSTACK__URL=https://cloudstack.example/client/api
      export CONFIGDRIVE_CLOUDSTACK__KEY_FILE=/etc/configdrive/cloudstack.keys
      export CONFIGDRIVE_CLOUDSTACK__AMQP_URL=amqps://configdrive:...@rabbit.example:5671/
      configdrive cloudstack amqp
    """
    from workers.cloudstack.amqp import AmqpConsumer
    from workers.cloudstack.retrying import Life

    settings = load_settings(says_ignored=True)
    own = settings.cloudstack
    if own.amqp_url is None:
        remedy = "give RabbitMQ's address: amqps://user:password@rabbit.example:5671/"
        raise PermanentError(PermanentCode.MISCONFIGURED, "cloudstack.amqp_url: is not set", remedy)
    begin_logging(settings)
    # Not patient: the entry point itself tries again, and gives its sign of life between two attempts.
    adapter = _open_adapter(settings, "amqp", patient=False)
    consumer = AmqpConsumer(
        adapter,
        own.amqp_url.get_secret_value(),
        exchange=own.amqp_exchange,
        queue=own.amqp_queue,
        ca_file=own.amqp_ca_file,
    )
    consumer.run(Life(until_term(), settings.health_file))
    return _ended(adapter)


@cloudstack.command(short_help="Take CloudStack's webhooks: an HTTP server.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8443, show_default=True, metavar="N", help="Its port.")
@click.option("--address", default="127.0.0.1", show_default=True, metavar="IP", help="Where it listens.")
def webhook(port: int, address: str) -> ExitCode:
    """Take CloudStack's webhooks (4.20 and newer), until TERM.

    A call counts only with the right signature, made with the key in CONFIGDRIVE_CLOUDSTACK__WEBHOOK_SECRET_FILE, and
    is answered with 200 only once its event is stored. CloudStack sends action events by webhook, no states and no
    passwords: `configdrive cloudstack amqp` brings more, and sooner. GET /health answers probes.

    \b
    Examples:
      configdrive cloudstack webhook
      configdrive cloudstack webhook --address 0.0.0.0 --port 8443
    """
    try:
        from workers.cloudstack.webhook import serve
    except ImportError as error:
        raise _not_installed("webhooks need", error.name) from None
    from workers.cloudstack.retrying import Life
    from workers.config.secret_files import read_secret

    settings = load_settings(says_ignored=True)
    secret = read_secret(settings.cloudstack.webhook_secret_file, "cloudstack.webhook_secret_file")
    begin_logging(settings)
    adapter = _open_adapter(settings, "webhook", patient=False)
    serve(
        adapter,
        secret=secret,
        address=address,
        port=port,
        certificate=_certificate(
            "webhook", settings.cloudstack.webhook_certificate, settings.cloudstack.webhook_certificate_key
        ),
        life=Life(until_term(), settings.health_file),
        patience_seconds=settings.cloudstack.webhook_seconds,
    )
    return _ended(adapter)


@cloudstack.command(short_help="Give KVM hosts the drives of VMs that they start.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8444, show_default=True, metavar="N", help="Its port.")
@click.option("--address", default="127.0.0.1", show_default=True, metavar="IP", help="Where it listens.")
def gate(port: int, address: str) -> ExitCode:
    """Give KVM hosts the drives of VMs that they are about to start, until TERM.

    The hook of CloudStack's agent (deploy/cloudstack) asks here right before it starts a VM, waits until the fleet has
    made the image, and puts the drive into the VM. So it is there from the guest's first instruction on. It runs beside
    an adapter (amqp, webhook or read), which makes sure of the drive once the VM runs.

    Each host is known by a token: `configdrive cloudstack gate-token`. GET /health answers probes.

    \b
    Examples:
      configdrive cloudstack gate --address 0.0.0.0 --port 8444
    """
    try:
        from workers.cloudstack.gate_server import serve
    except ImportError as error:
        raise _not_installed("the gate needs", error.name) from None
    from workers.cloudstack.gate import Verdict
    from workers.cloudstack.gate_tokens import GateTokens
    from workers.cloudstack.retrying import Life
    from workers.cloudstack.wiring import make_gate
    from workers.observability.optional import open_gate_metrics

    settings = load_settings(says_ignored=True)
    own = settings.cloudstack
    tokens = GateTokens(own.gate_tokens_file)
    begin_logging(settings)
    metrics = open_gate_metrics(settings, tuple(Verdict))
    made = make_gate(settings, open_mailbox(settings), None if metrics is None else metrics.answers.count)
    serve(
        made,
        tokens=tokens,
        address=address,
        port=port,
        certificate=_certificate("gate", own.gate_certificate, own.gate_certificate_key),
        life=Life(until_term(), settings.health_file),
        grace_seconds=own.gate_seconds + 5,
    )
    return ExitCode.DONE


@cloudstack.command(short_help="Make the token by which the gate knows a host.")
@click.argument("host")
def gate_token(host: str) -> ExitCode:
    """Make the token by which the gate knows HOST, and print it: once, for only its hash is kept.

    HOST is what CloudStack calls it. The hash goes into CONFIGDRIVE_CLOUDSTACK__GATE_TOKENS_FILE, which a running gate
    reads again by itself; the token belongs into /etc/cloudstack/agent/configdrive-gate.token of the host, mode 0600.
    The token before it stays valid, so that nothing is refused meanwhile.

    \b
    Example:
      configdrive cloudstack gate-token kvm1.dc.example > configdrive-gate.token
    """
    from workers.cloudstack.gate_tokens import new_token

    if not host or len(host.split()) != 1 or "#" in host:
        raise click.BadParameter("a host's name, as CloudStack has it", param_hint="HOST")
    click.echo(new_token(load_settings().cloudstack.gate_tokens_file, host))
    return ExitCode.DONE


@cloudstack.command(short_help="Take them from a file or standard input, one per line.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@json_option
def read(file: str, *, as_json: bool) -> ExitCode:
    """Take notices from FILE, or from standard input with "-": one JSON object per line, as Kafka's clients print them.

    What cannot be taken now, because Redis or CloudStack is away, is tried until it can, and holds up what follows.
    Exit code 1 when something became a dead letter (`configdrive dead`).

    \b
    Examples:
      configdrive cloudstack read notices.jsonl
      kcat -b kafka.example -G configdrive cloudstack -u | configdrive cloudstack read -
    """
    from workers.cloudstack.adapter import Result
    from workers.cloudstack.kafka_stdin import take_lines
    from workers.cloudstack.retrying import Life

    settings = load_settings()
    adapter = _open_adapter(settings, "read", patient=True)
    with ExitStack() as stack:
        stream = sys.stdin.buffer if file == "-" else stack.enter_context(Path(file).open("rb"))
        for number, taken in take_lines(stream, adapter, Life(until_term())):
            _show(number, taken, as_json=as_json)
    if not as_json:
        click.echo(_tally(adapter))
    return ExitCode.FAILED if adapter.tally[Result.DEAD_LETTER] else ExitCode.DONE


def _open_adapter(settings: Settings, origin: str, *, patient: bool) -> Adapter:
    from workers.cloudstack.adapter import Result
    from workers.cloudstack.wiring import make_adapter
    from workers.observability.optional import open_adapter_metrics

    mailbox = open_mailbox(settings, patient=patient)
    metrics = None if origin == "read" else open_adapter_metrics(settings, origin, tuple(Result))
    watch = None if metrics is None else metrics.notices.count
    return make_adapter(settings, mailbox, origin, watch)


def _certificate(what: str, *files: Path | None) -> tuple[Path, Path] | None:
    match files:
        case None, None:
            return None
        case Path() as certificate, Path() as key:
            return certificate, key
        case _:
            detail = f"cloudstack.{what}_certificate: needs {what}_certificate_key, and the other way round"
            raise PermanentError(PermanentCode.MISCONFIGURED, detail)


def _not_installed(what: str, module: str | None) -> PermanentError:
    detail = f"{what} the module {module!r}, which is not installed"
    return PermanentError(PermanentCode.MISCONFIGURED, detail, how_to_install("cloudstack"))


def _show(number: int, taken: Taken, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "line": number,
                "result": taken.result.value,
                "reason": taken.reason,
                "vm_uuid": taken.vm,
                "events": list(taken.events),
            },
            lines=True,
        )
        return
    about = f" of VM {taken.vm}" if taken.vm else ""
    click.echo(f"line {number}{about}: {taken.result}: {taken.reason}")


def _ended(adapter: Adapter) -> ExitCode:
    _log.info("ended: %s", _tally(adapter))
    return ExitCode.DONE


def _tally(adapter: Adapter) -> str:
    return ", ".join(f"{count} {result}" for result, count in sorted(adapter.tally.items())) or "nothing"
