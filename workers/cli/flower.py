"""`configdrive flower`: Flower with the fleet's broker, prefix and queues already set."""

from __future__ import annotations

import os
from ipaddress import ip_address
from types import SimpleNamespace

import click

from workers.cli import pace
from workers.cli.exits import ExitCode


@click.command(short_help="Watch workers and events in the browser.", context_settings={"ignore_unknown_options": True})
@click.option("--port", type=click.IntRange(0, 65_535), default=5555, show_default=True, metavar="N", help="Its port.")
@click.option("--address", default="127.0.0.1", show_default=True, metavar="IP", help="Where it listens.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[--NAME=VALUE]...")
def flower(port: int, address: str, options: tuple[str, ...]) -> ExitCode:
    """Run Flower for this fleet: its workers, and one row per event with retries, runtime and outcome.

    Further OPTIONS are Flower's own, in the form --name=value, or FLOWER_NAME in the environment. Nothing secret is
    shown, but whoever reaches the page can stop workers: beyond this machine it has to ask for a password.

    \b
    Examples:
      configdrive flower
      FLOWER_BASIC_AUTH=admin:... configdrive flower --address 0.0.0.0
    """
    from configdrive.errors import PermanentCode, PermanentError
    from workers.app import make_app
    from workers.settings import load_settings

    try:
        from flower.command import flower as command
    except ImportError:
        remedy = "pip install 'configdrive-fleet[flower]'"
        raise PermanentError(PermanentCode.MISCONFIGURED, "Flower is not installed", remedy) from None
    if not _on_this_machine(address) and not _asks_for_a_password(options):
        detail = f"Flower would be open to everyone who reaches {address}"
        remedy = "set FLOWER_BASIC_AUTH=user:password, or Flower's --auth options"
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, remedy)
    pace.stay()
    arguments = [f"--port={port}", f"--address={address}", *options]
    # Not through Celery's own command line: it reads the environment (APP, BROKER_URL, CONFIG_MODULE, ...).
    with click.Context(click.Command("celery")) as parent:
        parent.obj = SimpleNamespace(app=make_app(load_settings()), quiet=False)
        command.main(arguments, "flower", standalone_mode=False, parent=parent)
    return ExitCode.DONE


def _on_this_machine(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _asks_for_a_password(options: tuple[str, ...]) -> bool:
    given = {option.partition("=")[0].lstrip("-").replace("-", "_") for option in options}
    return bool({"basic_auth", "auth", "conf"} & given or {"FLOWER_BASIC_AUTH", "FLOWER_AUTH"} & os.environ.keys())
