"""`configdrive schema`: the event contract."""

from __future__ import annotations

import click

from workers.cli.output import print_json


@click.command(short_help="Print the event contract as JSON Schema.")
def schema() -> None:
    """Print the event contract, version 1, as JSON Schema (draft 2020-12).

    \b
    Examples:
      configdrive schema > configdrive-event.schema.json
      configdrive schema | jq '."$defs".DeployData.properties | keys'
    """
    from configdrive.events import json_schema

    print_json(json_schema())
