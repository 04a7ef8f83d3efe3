"""`configdrive doctor`: is everything there that the fleet needs, and what to do when it is not."""

from __future__ import annotations

from dataclasses import asdict

import click

from workers.cli.exits import ExitCode
from workers.cli.output import coloured, json_option, print_json


@click.command(short_help="Check settings, Redis, keys and every host.")
@json_option
def doctor(*, as_json: bool) -> ExitCode:
    """Check settings, Redis, the keys, the inventory and every host in it, and name the remedy for what is wrong.

    Run it on the machine, and as the user, that the worker or publisher will run as. Nothing is changed. OK is well,
    WARN works but should be mended, FAIL does not work; with one FAIL the exit code is 1.

    \b
    Examples:
      configdrive doctor
      configdrive doctor --json | jq '.findings[] | select(.level != "ok")'
    """
    from workers.cli.examining import Level, examine

    found = []
    for finding in examine():
        found.append(finding)
        if not as_json:  # at once: a host that does not answer takes its time
            click.echo(f"{coloured(finding.level.value.upper(), 4)}  {finding.subject}: {finding.detail}")
            if finding.remedy and finding.level is not Level.OK:
                click.echo(f"      remedy: {finding.remedy}")
    failed = any(finding.level is Level.FAIL for finding in found)
    if as_json:
        print_json({"well": not failed, "findings": [asdict(finding) for finding in found]})
    return ExitCode.FAILED if failed else ExitCode.DONE
