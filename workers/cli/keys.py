"""`configdrive keys`: the key pairs that passwords and user data are sealed with."""

from __future__ import annotations

import click

from workers.cli.context import InOrder
from workers.cli.exits import ExitCode
from workers.cli.output import json_option


@click.group(cls=InOrder, short_help="Make, list, rotate and retire the fleet's keys.")
def keys() -> None:
    """Make, list, rotate and retire the fleet's keys.

    What goes on a drive travels and rests sealed: publishers seal with the newest public key, workers open with any
    private key in the key file (setting 'keys_file', mode 0600, the same file for all workers).

    \b
    To change keys without a pause:
      configdrive keys rotate            # on one worker's machine; copy the key file to the others
      configdrive keys public            # goes to publishers, as CONFIGDRIVE_PUBLIC_KEY
      configdrive keys list --usage      # later: what still needs the old key
      configdrive keys retire 0123456789abcdef
    """


@keys.command()
@json_option
def generate(*, as_json: bool) -> ExitCode:
    """Make the key file with a first key. One that is there stays as it is: use `rotate`.

    \b
    Example:
      CONFIGDRIVE_KEYS_FILE=/etc/configdrive/keys.json configdrive keys generate
    """
    from workers.cli.keyring import generate_keys

    return generate_keys(as_json=as_json)


@keys.command("list")
@click.option("--usage", is_flag=True, help="Also count in Redis what is sealed with each.")
@json_option
def list_(*, usage: bool, as_json: bool) -> ExitCode:
    """List the keys, the newest last. Private keys are not shown.

    \b
    Example:
      configdrive keys list --usage
    """
    from workers.cli.keyring import list_keys

    return list_keys(usage=usage, as_json=as_json)


@keys.command(short_help="Add a new key; older ones still open.")
@json_option
def rotate(*, as_json: bool) -> ExitCode:
    """Add a new key, which everything is sealed with from now on. Older ones still open.

    Running workers notice by themselves; publishers with CONFIGDRIVE_PUBLIC_KEY need the new public key.

    \b
    Example:
      configdrive keys rotate --json | jq -r .public
    """
    from workers.cli.keyring import rotate_keys

    return rotate_keys(as_json=as_json)


@keys.command(short_help="Print the newest public key, for publishers.")
def public() -> ExitCode:
    """Print the newest public key, for CONFIGDRIVE_PUBLIC_KEY on machines that only publish.

    \b
    Example:
      ssh orchestrator "echo CONFIGDRIVE_PUBLIC_KEY=$(configdrive keys public) >> /etc/configdrive.env"
    """
    from workers.cli.keyring import print_public

    return print_public()


@keys.command(short_help="Remove an old key, if nothing still needs it.")
@click.argument("identity", metavar="ID")
@click.option("--force", is_flag=True, help="Even if something is still sealed with it, which is lost then.")
@json_option
def retire(identity: str, *, force: bool, as_json: bool) -> ExitCode:
    """Remove an old key from the key file, if nothing that is stored is still sealed with it.

    What a VM's state is sealed with changes to the newest key with each of its events.

    \b
    Example:
      configdrive keys retire 0123456789abcdef
    """
    from workers.cli.keyring import retire_key

    return retire_key(identity, force=force, as_json=as_json)
