"""`configdrive cloudstack`: the adapter for Apache CloudStack, one command for each way in which its notices come."""

from __future__ import annotations

import click

from workers.cli import process
from workers.cli.context import InOrder
from workers.cli.exits import ExitCode
from workers.cli.output import json_option


@click.group(cls=InOrder, short_help="Take what CloudStack publishes, as events.")
def cloudstack() -> None:
    """Take what Apache CloudStack publishes about its VMs, and publish events from it.

    CloudStack says that something happened; what the drive holds, and where it belongs, is asked from its API, with
    the keys in CONFIGDRIVE_CLOUDSTACK__KEY_FILE. Notices may come doubled, late, out of order, and by several ways at
    once. docs/how-to/cloudstack.md tells how to set CloudStack up, and what leads to what.

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
    from workers.cli.listening import listen_to_bus

    return listen_to_bus(process.until_term())


@cloudstack.command(short_help="Take CloudStack's webhooks: an HTTP server.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8443, show_default=True, metavar="N", help="Its port.")
@click.option("--address", default="127.0.0.1", show_default=True, metavar="IP", help="Where it listens.")
def webhook(port: int, address: str) -> ExitCode:
    """Take CloudStack's webhooks (4.20 and newer), until TERM.

    A call counts only with the right signature, made with the key in CONFIGDRIVE_CLOUDSTACK__WEBHOOK_SECRET_FILE, and
    is answered with 200 only once its event is stored. CloudStack sends action events by webhook, no states and no
    passwords: `configdrive cloudstack amqp` tells more, and sooner. GET /health answers probes.

    \b
    Examples:
      configdrive cloudstack webhook
      configdrive cloudstack webhook --address 0.0.0.0 --port 8443
    """
    from workers.cli.listening import serve_webhooks

    return serve_webhooks(address, port, process.until_term())


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
    from workers.cli.listening import read_notices

    return read_notices(file, process.until_term(), as_json=as_json)
