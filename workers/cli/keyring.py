"""What `configdrive keys` does to the key file."""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from configdrive.errors import PermanentCode, PermanentError
from workers.cli.context import open_mailbox
from workers.cli.exits import ExitCode
from workers.cli.output import print_json, table
from workers.config.key_ring import key_of
from workers.config.keys import Key, public_text, read_keys, write_keys
from workers.config.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def generate_keys(*, as_json: bool) -> ExitCode:
    """Make the key file."""
    path = load_settings().keys_file
    key = Key.generate()
    if not write_keys(path, [key], replace=False):
        click.echo(f"{path} is there already\n  remedy: `configdrive keys rotate` adds a key", err=True)
        return ExitCode.FAILED
    _tell(path, key, f"made {path} with key {key.identity}", as_json=as_json)
    return ExitCode.DONE


def rotate_keys(*, as_json: bool) -> ExitCode:
    """Add a key."""
    path = load_settings().keys_file
    key = Key.generate()
    with _locked(path):
        write_keys(path, [*read_keys(path), key], replace=True)
    _tell(path, key, f"added key {key.identity} to {path}; publishers need: {public_text(key)}", as_json=as_json)
    return ExitCode.DONE


def list_keys(*, usage: bool, as_json: bool) -> ExitCode:
    """List the keys."""
    settings = load_settings()
    found = read_keys(settings.keys_file)
    boxes = Counter(key_of(box) for _uuid, box in open_mailbox(settings).boxes()) if usage else Counter[str]()
    rows: list[dict[str, Any]] = [
        {"id": key.identity, "created": key.created, "newest": key is found[-1], "public": public_text(key)}
        | ({"boxes": boxes[key.identity]} if usage else {})
        for key in found
    ]
    if as_json:
        print_json(rows)
        return ExitCode.DONE
    titles = ("key", "created", "") + (("boxes at rest",) if usage else ())
    table(
        titles,
        [
            (row["id"], row["created"], "seals" if row["newest"] else "opens only")
            + ((str(row["boxes"]),) if usage else ())
            for row in rows
        ],
    )
    lost = sum(boxes.values()) - sum(boxes[key.identity] for key in found)
    if lost:
        click.echo(f"{lost} boxes at rest are sealed with a key that is not in the file", err=True)
    return ExitCode.DONE


def print_public() -> ExitCode:
    """Print the newest public key."""
    click.echo(public_text(read_keys(load_settings().keys_file)[-1]))
    return ExitCode.DONE


def retire_key(identity: str, *, force: bool, as_json: bool) -> ExitCode:
    """Remove a key."""
    settings = load_settings()
    with _locked(settings.keys_file):
        found = read_keys(settings.keys_file)
        old = next((key for key in found if key.identity == identity), None)
        if old is None:
            click.echo(f"no key {identity} in {settings.keys_file}\n  remedy: `configdrive keys list`", err=True)
            return ExitCode.FAILED
        if old is found[-1]:
            click.echo(f"key {identity} is the newest\n  remedy: `configdrive keys rotate` first", err=True)
            return ExitCode.FAILED
        if not force:
            users = sorted({uuid for uuid, box in open_mailbox(settings).boxes() if key_of(box) == identity})
            if users:
                remedy = "wait for an event of each, or lose what is sealed with it: --force"
                shown = ", ".join(users[:5]) + (", ..." if len(users) > 5 else "")  # noqa: PLR2004 - enough to look at
                click.echo(f"{len(users)} VMs still need key {identity}: {shown}\n  remedy: {remedy}", err=True)
                return ExitCode.FAILED
        write_keys(settings.keys_file, [key for key in found if key is not old], replace=True)
    _tell(settings.keys_file, old, f"removed key {identity} from {settings.keys_file}", as_json=as_json)
    return ExitCode.DONE


def _tell(path: Path, key: Key, text: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"id": key.identity, "created": key.created, "public": public_text(key), "file": str(path)})
    else:
        click.echo(text)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep two that change the file at once from losing one another's key. The lock is on its directory, not on it."""
    try:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        detail = f"the key file {path} cannot be read: {error.strerror}"
        raise PermanentError(PermanentCode.MISCONFIGURED, detail, "make one: `configdrive keys generate`") from None
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)
