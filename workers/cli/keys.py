"""`configdrive keys`: the key pairs that passwords and user data are sealed with."""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import click

from configdrive.errors import PermanentCode, PermanentError
from workers.cli.context import load_settings, note_action, open_mailbox
from workers.cli.errors import ExitCode, problem_of
from workers.cli.options import InOrder, json_option
from workers.cli.output import print_json, table
from workers.cli.progress import watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import redis

    from configdrive.model import VmUuid
    from configdrive.ports import Sealer
    from workers.config.keys import Key
    from workers.store.inspection import Inspection

_SHOWN = 10


@click.group(cls=InOrder, short_help="Make, list, rotate and retire the fleet's keys.")
def keys() -> None:
    """Make, list, rotate and retire the fleet's keys.

    What goes on a drive travels and rests sealed: publishers seal with the newest public key, workers open with any
    private key in the key file (setting 'keys_file', mode 0600, the same file for all workers).

    \b
    To change keys without a pause:
      configdrive keys rotate            # on one worker's machine; copy the key file to the others
      configdrive keys public            # goes to publishers, as CONFIGDRIVE_PUBLIC_KEY
      configdrive keys reseal            # what is remembered of VMs, with the new key
      configdrive keys list --usage      # what still needs the old one
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
    from workers.config.keys import Key, write_keys

    path = load_settings().keys_file
    key = Key.generate()
    if not write_keys(path, [key], replace=False):
        click.echo(f"{path} is there already\n  remedy: `configdrive keys rotate` adds a key", err=True)
        return ExitCode.FAILED
    _print(path, key, f"made {path} with key {key.identity}", as_json=as_json)
    return ExitCode.DONE


@keys.command("list")
@click.option("--usage", is_flag=True, help="Also count in Redis what is sealed with each.")
@json_option
def list_(*, usage: bool, as_json: bool) -> ExitCode:
    """List the keys, the newest last. Private keys are not shown.

    \b
    Example:
      configdrive keys list --usage
    """
    from configdrive.contract.sealing import key_of
    from workers.config.keys import public_text, read_keys

    settings = load_settings()
    found = read_keys(settings.keys_file)
    texts = _sealed_boxes(open_mailbox(settings), hidden=as_json) if usage else ()
    sealed = Counter(key_of(text) for _uuid, text in texts)
    rows: list[dict[str, Any]] = [
        {"id": key.identity, "created": key.created, "newest": key is found[-1], "public": public_text(key)}
        | ({"sealed_boxes": sealed[key.identity]} if usage else {})
        for key in found
    ]
    if as_json:
        print_json({"keys": rows})
        return ExitCode.DONE
    titles = ("key", "created", "") + (("sealed boxes",) if usage else ())
    table(
        titles,
        [
            (row["id"], row["created"], "seals" if row["newest"] else "opens only")
            + ((str(row["sealed_boxes"]),) if usage else ())
            for row in rows
        ],
    )
    lost = sum(sealed.values()) - sum(sealed[key.identity] for key in found)
    if lost:
        click.echo(f"{lost} sealed boxes need a key that is not in the file", err=True)
    return ExitCode.DONE


@keys.command(short_help="Add a new key; older ones still open.")
@json_option
def rotate(*, as_json: bool) -> ExitCode:
    """Add a new key, which everything is sealed with from now on. Older ones still open.

    Running workers notice by themselves; publishers with CONFIGDRIVE_PUBLIC_KEY need the new public key. It needs the
    newest key file: one that lacks a key of the fleet is refused, as it would take that key from whoever gets a copy.

    \b
    Example:
      configdrive keys rotate --json | jq -r .public
    """
    from redis import RedisError

    from workers.config.keys import Key, public_text, read_keys, write_keys
    from workers.store.fleet_keys import require_all, rotated

    settings = load_settings()
    path, key = settings.keys_file, Key.generate()
    with _locked(path):
        found = read_keys(path)
        with suppress(RedisError):  # away: said below
            require_all(open_mailbox(settings).client, settings.key_prefix, path, found)
        write_keys(path, [*found, key], replace=True)
    _tell_fleet(lambda client, prefix: rotated(client, prefix, key.identity), "configdrive keys enroll")
    _print(path, key, f"added key {key.identity} to {path}; publishers need: {public_text(key)}", as_json=as_json)
    return ExitCode.DONE


@keys.command(short_help="Make the keys of this machine's file the fleet's.")
@json_option
def enroll(*, as_json: bool) -> ExitCode:
    """Enter the keys of this machine's key file among the fleet's on Redis.

    The first worker of a fleet does so by itself, and `rotate` with each new key. By hand it is for when the file of
    all workers is lost and this one is new: what was sealed with the old keys cannot be opened any more.

    \b
    Example:
      configdrive keys enroll
    """
    from workers.config.keys import read_keys
    from workers.store.fleet_keys import enter

    settings = load_settings()
    found = [key.identity for key in read_keys(settings.keys_file)]
    mailbox = open_mailbox(settings)
    enter(mailbox.client, settings.key_prefix, found)
    note_action(mailbox, "enroll", None, f"keys {', '.join(found)}")
    if as_json:
        print_json({"entered": found})
    else:
        click.echo(f"the fleet's keys: {', '.join(found)} of {settings.keys_file}")
    return ExitCode.DONE


@keys.command(short_help="Print the newest public key, for publishers.")
def public() -> ExitCode:
    """Print the newest public key, for CONFIGDRIVE_PUBLIC_KEY on machines that only publish.

    \b
    Example:
      ssh orchestrator "echo CONFIGDRIVE_PUBLIC_KEY=$(configdrive keys public) >> /etc/configdrive.env"
    """
    from workers.config.keys import public_text, read_keys

    click.echo(public_text(read_keys(load_settings().keys_file)[-1]))
    return ExitCode.DONE


@keys.command(short_help="Seal anew what VMs' states have sealed with older keys.")
@json_option
def reseal(*, as_json: bool) -> ExitCode:
    """Seal what is remembered of VMs anew with the newest key, so that an older one can be retired.

    Workers go on meanwhile, and it may be broken off at any time: what is done stays done. A VM that a worker is at, or
    whose events wait, is left out: its next event does the same. Run it again for those; the exit code is 1 until none
    is left.

    \b
    Examples:
      configdrive keys reseal --json
      configdrive keys rotate && configdrive keys reseal && configdrive keys retire 0123456789abcdef
    """
    from configdrive.contract.sealing import key_of
    from workers.config.key_ring import make_sealer
    from workers.config.keys import read_keys

    settings = load_settings()
    newest = read_keys(settings.keys_file)[-1].identity
    sealer, mailbox = make_sealer(settings), open_mailbox(settings)
    uuids = sorted({uuid for uuid, text in _sealed_boxes(mailbox, hidden=as_json) if key_of(text) != newest})
    done, left = 0, list[str]()
    for uuid in watched(uuids, "sealing anew", len(uuids), hidden=as_json):
        why_not = _reseal(mailbox, sealer, uuid)
        done += why_not is None
        left += [] if why_not is None else [f"{uuid}: {why_not}"]
    if as_json:
        print_json({"key": newest, "sealed_anew": done, "left": left})
    else:
        click.echo(f"{done} VMs sealed anew with key {newest}")
        for line in left[:_SHOWN]:
            click.echo(f"left  {line}", err=True)
        if len(left) > _SHOWN:
            click.echo(f"and {len(left) - _SHOWN} more", err=True)
    return ExitCode.FAILED if left else ExitCode.DONE


def _sealed_boxes(mailbox: Inspection, *, hidden: bool) -> Iterator[tuple[VmUuid, str]]:
    return watched(mailbox.sealed(), "looking at sealed boxes", None, hidden=hidden)


def _reseal(mailbox: Inspection, sealer: Sealer, uuid: VmUuid) -> str | None:
    """Seal one VM's state anew, under its lease; says why not."""
    from configdrive.lifecycle import state as states
    from tasks.mailbox import NotNow

    held = mailbox.hold(uuid)
    if isinstance(held, NotNow):
        return "its events wait" if held is NotNow.WAITING else "a worker is at it"
    state = None
    try:
        if held.state is not None:
            state = states.write(states.reseal(states.peek(held.state), sealer, uuid))
    except PermanentError as error:
        return f"{error.code}: {error.detail}"
    finally:
        mailbox.release(held, state)
    return None


@keys.command(short_help="Remove an old key, if nothing still needs it.")
@click.argument("identity", metavar="ID")
@click.option("--force", is_flag=True, help="Even if something is still sealed with it, which is lost then.")
@json_option
def retire(identity: str, *, force: bool, as_json: bool) -> ExitCode:
    """Remove an old key from the key file, if nothing that is stored is still sealed with it.

    What a VM's state is sealed with changes to the newest key with each of its events, or by `reseal`.

    \b
    Example:
      configdrive keys retire 0123456789abcdef
    """
    from configdrive.contract.sealing import key_of
    from workers.config.keys import read_keys, write_keys
    from workers.store.fleet_keys import remove

    settings = load_settings()
    with _locked(settings.keys_file):
        found = read_keys(settings.keys_file)
        old = next((key for key in found if key.identity == identity), None)
        if old is found[-1]:
            click.echo(f"key {identity} is the newest\n  remedy: `configdrive keys rotate` first", err=True)
            return ExitCode.FAILED
        if not force:
            users = sorted(
                {
                    uuid
                    for uuid, text in _sealed_boxes(open_mailbox(settings), hidden=as_json)
                    if key_of(text) == identity
                }
            )
            if users:
                remedy = "`configdrive keys reseal`, or lose what is sealed with it: --force"
                shown = ", ".join(users[:5]) + (", ..." if len(users) > 5 else "")  # noqa: PLR2004 - enough to look at
                click.echo(f"{len(users)} VMs still need key {identity}: {shown}\n  remedy: {remedy}", err=True)
                return ExitCode.FAILED
        if old is not None:
            write_keys(settings.keys_file, [key for key in found if key is not old], replace=True)
    again = f"configdrive keys retire --force {identity}"
    removed = _tell_fleet(lambda client, prefix: remove(client, prefix, identity), again)
    if old is None and not removed:
        click.echo(f"no key {identity} in {settings.keys_file}\n  remedy: `configdrive keys list`", err=True)
        return ExitCode.FAILED
    if as_json:
        print_json({"id": identity, "file": str(settings.keys_file)})
    else:
        click.echo(f"removed key {identity} from {settings.keys_file if old else 'the ids on Redis'}")
    return ExitCode.DONE


def _tell_fleet(tell: Callable[[redis.Redis, str], object], later: str) -> bool:
    """Change the fleet's ids on Redis; a Redis that is away is no reason to leave the file as it was."""
    from redis import RedisError

    settings = load_settings()
    mailbox = open_mailbox(settings)
    try:
        return bool(tell(mailbox.client, settings.key_prefix))
    except RedisError as error:
        click.echo(f"the fleet's keys on Redis are as they were: {problem_of(error).message}", err=True)
        click.echo(f"  remedy: when it can be, `{later}`", err=True)
    return False


def _print(path: Path, key: Key, text: str, *, as_json: bool) -> None:
    from workers.config.keys import public_text

    if as_json:
        print_json({"id": key.identity, "created": key.created, "public": public_text(key), "file": str(path)})
    else:
        click.echo(text)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep two that change the file at once from losing one another's key. The lock is on its directory, not on it."""
    from workers.config.keys import NO_FILE

    try:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        detail = f"the key file {path} cannot be read: {error.strerror}"
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, NO_FILE) from None
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)
