"""`configdrive functions`: PUT as a Redis Function."""

from __future__ import annotations

import click

from workers.cli.context import load_settings
from workers.cli.errors import ExitCode
from workers.cli.options import InOrder, json_option
from workers.cli.output import print_json


@click.group(cls=InOrder, short_help="Load PUT as a function of Redis, for any language.")
def functions() -> None:
    """Load PUT as a function of Redis, for programs of any language that want the answer at once.

    The function takes an event with sealed guest data, and knows hypervisors and zones as the settings were when it was
    loaded: load it again when they change, after an upgrade, and after a loss of Redis. Redis keeps it in its files and
    gives it to its replicas. No worker needs it; who loads it needs the right to FUNCTION LOAD.

    \b
    Examples:
      configdrive functions load
      configdrive functions show | redis-cli -x FUNCTION LOAD REPLACE     # as another user of Redis
      redis-cli FCALL configdrive_put_v1 0 "$(cat event.json)"
    """


@functions.command()
@json_option
def load(*, as_json: bool) -> ExitCode:
    """Load the library into Redis, in the place of an older one.

    \b
    Example:
      configdrive functions load
    """
    from configdrive.client.connection import connect_redis
    from workers.store.scripts import FunctionLibrary

    settings = load_settings()
    library = FunctionLibrary.of(settings)
    with connect_redis(settings, patient=False) as client:
        client.function_load(library.code, replace=True)
    if as_json:
        print_json({"library": library.name, "put": library.put, "hypervisors": list(library.hypervisors)})
    else:
        click.echo(f"loaded {library.name}: FCALL {library.put} 0 <event JSON>")
    return ExitCode.DONE


@functions.command()
def show() -> ExitCode:
    """Print the library, as FUNCTION LOAD takes it.

    \b
    Example:
      configdrive functions show > configdrive.lua
    """
    from workers.store.scripts import FunctionLibrary

    click.echo(FunctionLibrary.of(load_settings()).code, nl=False)
    return ExitCode.DONE
