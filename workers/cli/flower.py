"""`configdrive flower`: Flower with the fleet's broker, prefix and queues already set."""

from __future__ import annotations

import os
from contextlib import suppress
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import click

from workers.cli.context import load_settings
from workers.cli.errors import ExitCode
from workers.cli.process import collect_as_usual, ctrl_c_pressed
from workers.config.extras import how_to_install


@click.command(short_help="Watch workers and events in the browser.", context_settings={"ignore_unknown_options": True})
@click.option("--port", type=click.IntRange(0, 65_535), default=5555, show_default=True, metavar="N", help="Its port.")
@click.option("--address", default="127.0.0.1", show_default=True, metavar="IP", help="Where it listens.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[--NAME=VALUE]...")
def flower(port: int, address: str, options: tuple[str, ...]) -> ExitCode:
    """Run Flower for this fleet: its workers, and one row per event with retries, runtime and outcome.

    Further OPTIONS are Flower's own, in the form --name=value, or FLOWER_NAME in the environment, or a file named by
    --conf (deploy/flower/flowerconfig.py is one to start from). Nothing secret is shown and nothing can be stopped from
    the page, unless --read_only=False; yet beyond this machine it has to ask for a password.

    \b
    Examples:
      configdrive flower
      configdrive flower --conf=/etc/configdrive/flowerconfig.py
      FLOWER_BASIC_AUTH=admin:... configdrive flower --address 0.0.0.0
    """
    from configdrive.errors import PermanentCode, PermanentError
    from workers.observability import flower as shown
    from workers.queueing.app import make_app

    try:
        from flower.command import flower as command
        from flower.options import default_options
        from flower.urls import settings as served

        from workers.observability.flower_pages import templates
    except ImportError:
        remedy = how_to_install("flower")
        raise PermanentError(PermanentCode.MISCONFIGURED, "Flower is not installed", remedy) from None
    for name, value in vars(shown).items():
        if name in default_options:
            setattr(default_options, name, value)
    if not _on_this_machine(address) and not _asks_for_a_password(options, default_options):
        detail = f"Flower would be open to everyone who reaches {address}"
        remedy = "set FLOWER_BASIC_AUTH=user:password, or Flower's --auth options"
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, remedy)
    served["template_loader"] = templates()
    collect_as_usual()
    arguments = [f"--port={port}", f"--address={address}", *options]
    # Not through Celery's own command line: it reads the environment (APP, BROKER_URL, CONFIG_MODULE, ...).
    with click.Context(click.Command("celery")) as parent:
        parent.obj = SimpleNamespace(app=make_app(load_settings()), quiet=False)
        try:
            command.main(arguments, "flower", standalone_mode=False, parent=parent)
        except OSError as error:
            raise OSError(error.errno, error.strerror, f"{address}:{port}") from None
    return ExitCode.INTERRUPTED if ctrl_c_pressed() else ExitCode.DONE


def _on_this_machine(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _asks_for_a_password(options: tuple[str, ...], known: Any) -> bool:  # noqa: ANN401 - tornado has no types
    """Look where Flower will look: at the command line, the environment, and the configuration file.

    `known` are Flower's options, into which the file is read; Flower reads it once more.
    """
    given = dict(option.lstrip("-").partition("=")[::2] for option in options)
    named = {name.replace("-", "_"): value for name, value in given.items()}
    if (
        named.get("basic_auth")
        or named.get("auth")
        or os.environ.get("FLOWER_BASIC_AUTH")
        or os.environ.get("FLOWER_AUTH")
    ):
        return True
    path = named.get("conf") or os.environ.get("FLOWER_CONF") or known.conf
    with suppress(FileNotFoundError):
        known.parse_config_file(os.path.abspath(path), final=False)  # noqa: PTH100 - as Flower does
    return bool(known.basic_auth or known.auth)
