"""`configdrive schema`: the contracts."""

from __future__ import annotations

import click

from workers.cli.context import load_settings
from workers.cli.output import print_json


@click.command(short_help="Print the contracts: event, outcome, AsyncAPI.")
@click.option("--outcome", "which", flag_value="outcome", help="Of an outcome instead.")
@click.option("--asyncapi", "which", flag_value="asyncapi", help="All channels, as an AsyncAPI 3.1 document.")
def schema(which: str | None) -> None:
    """Print the event contract, version 1, as JSON Schema (draft 2020-12).

    \b
    Examples:
      configdrive schema > configdrive-event.schema.json
      configdrive schema | jq '."$defs".DeployData.properties | keys'
      configdrive schema --outcome > configdrive-outcome.schema.json
      configdrive schema --asyncapi > configdrive-asyncapi.json
    """
    from configdrive.contract import events, outcome

    match which:
        case "outcome":
            print_json(outcome.json_schema())
        case "asyncapi":
            from workers.store.asyncapi import document
            from workers.store.scripts import FunctionLibrary

            print_json(document(FunctionLibrary.of(load_settings())))
        case _:
            print_json(events.json_schema())
