"""`configdrive build`: the drive that an event would give its VM, without any fleet."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from configdrive.errors import PermanentCode, PermanentError
from workers.cli.context import load_settings
from workers.cli.errors import ExitCode
from workers.cli.options import json_option
from workers.cli.output import print_json, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from configdrive.contract.events import ContentEvent
    from configdrive.contract.guest_data import GuestData
    from configdrive.lifecycle.state import VmState
    from configdrive.model import Vm
    from workers.config.settings import Settings


@click.command(short_help="Build the drive of an event as a file, without any fleet.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the ISO image there.")
@click.option("--list", "as_list", is_flag=True, help="List the files on the drive.")
@click.option("--show", "shown", multiple=True, metavar="PATH", help="Print a file of the drive (repeatable).")
@json_option
def build(file: str, output: Path | None, shown: tuple[str, ...], *, as_list: bool, as_json: bool) -> ExitCode:
    """Build the drive that the event in FILE (or "-": standard input) would give its VM, just as a worker does.

    Neither Redis nor a hypervisor is needed: for trying templates, images and guest agents. The label and what else
    stands on the drive are as the settings say. A sealed event can be opened with the key file only. The image holds
    the password and the user data in the clear: it is written readable for you alone.

    \b
    Examples:
      configdrive build event.json --list
      configdrive build event.json --show openstack/latest/meta_data.json
      configdrive build event.json -o drive.iso
      configdrive event deploy ... --user-data cloud-init.yaml | configdrive build - -o drive.iso
    """
    if output is None and not as_list and not shown:
        raise click.UsageError("say what to do with it: --output, --list or --show")
    from configdrive.contents.remarks import remarks
    from configdrive.contents.render import render
    from configdrive.iso.build import build as built
    from configdrive.model import Generation, ImageName

    settings = load_settings()
    event, guest = _read(file, settings)
    vm, state = _taken_in(event, guest)
    if not state.wanted:
        click.echo("remark: the network offering does not name ConfigDrive: this VM would get no drive", err=True)
    data, password = state.data, state.passwords.pending
    files = dict(render(vm, data, password, settings.drives))
    label = data.label or settings.label
    image = built(
        ImageName.of(vm.instance_name, vm.uuid, Generation(event.data.sequence)),
        files,
        label=label,
        built_at=time.time(),
    )
    for path in shown:
        _show(path, files)
    if as_json:
        sizes = {path: len(content) for path, content in sorted(files.items())}
        print_json({"label": label, "bytes": len(image.content), "sha256": image.sha256, "files": sizes})
    elif as_list:
        table(("bytes", "file"), [(str(len(content)), path) for path, content in sorted(files.items())])
    if output is not None:
        _write(output, image.content)
        click.echo(f"{output}: {len(image.content)} bytes, label {label!r}, {len(files)} files", err=True)
    for remark in remarks(vm, data, settings.drives, has_password=password is not None):
        click.echo(f"remark: {remark}", err=True)
    return ExitCode.DONE


def _read(file: str, settings: Settings) -> tuple[ContentEvent, GuestData]:
    from configdrive.contract.events import ContentEvent, parse
    from configdrive.contract.sealing import guest_of
    from workers.config.key_ring import make_sealer

    event = parse(sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes())
    if not isinstance(event, ContentEvent):
        detail = "type: such an event brings nothing for a drive"
        raise PermanentError(PermanentCode.INVALID_EVENT, detail, "give a deploy, start, update or password reset")
    return event, guest_of(event, make_sealer(settings))


def _taken_in(event: ContentEvent, guest: GuestData) -> tuple[Vm, VmState]:
    """Return the VM and its state, as if this were its first event; on which host it lies does not matter here."""
    from configdrive.lifecycle.state import VmState
    from configdrive.lifecycle.transitions import absorb, vm_of
    from configdrive.model import HostName, HypervisorName, InstanceName, Vm, VmUuid

    nowhere = Vm(VmUuid(event.data.vm.uuid), InstanceName(""), HypervisorName(""), HostName("-"))
    return vm_of(nowhere, event), absorb(VmState(vm=nowhere), event, guest)


def _show(path: str, files: Mapping[str, bytes]) -> None:
    found = files.get(path.strip("/"))
    if found is None:
        from difflib import get_close_matches

        near = get_close_matches(path.strip("/"), files, n=1)
        meant = f"did you mean {near[0]}?" if near else "--list shows all files"
        raise PermanentError(PermanentCode.INVALID_CONTENT, f"{path}: is not on this drive", meant)
    sys.stdout.flush()
    sys.stdout.buffer.write(found if found.endswith(b"\n") or not sys.stdout.isatty() else found + b"\n")
    sys.stdout.buffer.flush()


def _write(path: Path, content: bytes) -> None:
    """Write it for its owner alone; a file that is there keeps its name and loses its readers."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
