"""From the options of `configdrive event` to a checked event, which is printed (sealed if need be) or published."""

from __future__ import annotations

import base64
import json
import sys
import uuid
from pathlib import Path
from typing import Any

import click

from configdrive.contract.events import ContentEvent, LifecycleEvent, parse
from configdrive.contract.guest_data import MetadataField
from configdrive.contract.sealing import body_of
from configdrive.lifecycle.state import peek
from configdrive.model import VmUuid
from workers.cli.context import open_mailbox
from workers.cli.exits import ExitCode
from workers.cli.input import Entry
from workers.cli.publishing import publish_all

STDIN = "-"

_METADATA = frozenset(MetadataField.model_fields) - {"extra"}
_PLAIN = {
    "host": "host",
    "zone": "zone",
    "storage": "primary_storage",
    "attach": "attach",
    "presentation": "presentation",
}


def emit(event_type: str, options: dict[str, Any], own: dict[str, object]) -> ExitCode:
    """Make the event, and print or publish it. `own` are the fields of this type alone.

    Raises:
        PermanentError: `INVALID_EVENT` and the like, naming the field; `MISCONFIGURED`.
        UsageError: an option's value has not the form that its help shows.
    """
    if options["wait_seconds"] is not None and not options["publish"]:
        raise click.UsageError("--wait needs --publish")
    if event_type == "password_reset" and not (options["password_file"] or options["password_prompt"]):
        raise click.UsageError("give the new password by --password-file or --password-prompt")
    document = {
        "specversion": "1.0",
        "id": options["event_id"] or str(uuid.uuid4()),
        "source": options["source"],
        "type": f"configdrive.vm.{event_type}.v1",
        "data": {**_data(options), **own},
    }
    if options["publish"]:
        entry = Entry("event", document)
        return publish_all([entry], wait_seconds=options["wait_seconds"], as_json=options["as_json"])
    event = parse(json.dumps(document))
    click.echo(_printable(event, document))
    return ExitCode.DONE


def _printable(event: LifecycleEvent, document: dict[str, Any]) -> str:
    """Return the event's JSON: as it was given when nothing in it is secret, else with its content sealed."""
    guest = event.data.guest if isinstance(event, ContentEvent) else None
    if guest is None or (guest.password is None and guest.user_data is None):
        return json.dumps(document, indent=2)
    from workers.access import make_sealer
    from workers.config.settings import load_settings

    return body_of(event, make_sealer(load_settings())).decode()


def _data(options: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {
        "sequence": _sequence(options["sequence"], VmUuid(options["vm"])),
        "vm": {"uuid": options["vm"], "instance_name": options["name"]},
        "hypervisor": options["hypervisor"],
        **{field: options[option] for option, field in _PLAIN.items() if options[option] is not None},
    }
    if "nics" not in options:  # an event that says nothing of the drive's content
        return data
    if options["services"]:
        data["network_offering"] = {"services": _services(options["services"])}
    for field in ("label", "password_enabled"):
        if options[field] is not None:
            data[field] = options[field]
    guest = _guest(options)
    return {**data, "guest": guest} if guest else data


def _sequence(text: str, vm: VmUuid) -> int:
    if text != "next":
        try:
            return int(text)
        except ValueError:
            raise click.BadParameter("is neither a number nor 'next'", param_hint="--sequence") from None
    from workers.config.settings import load_settings

    view = open_mailbox(load_settings()).view(vm)
    known = [] if view is None else [header.sequence for header in view.mail]
    if view is not None and view.state is not None:
        known.append(peek(view.state).sequence)
    return max(known, default=0) + 1


def _guest(options: dict[str, Any]) -> dict[str, Any]:
    guest: dict[str, Any] = {}
    if options["metadata"]:
        guest["metadata"] = _metadata(options["metadata"])
    if options["user_data"] is not None:
        guest["user_data"] = _user_data(_read(options["user_data"]))
    if options["ssh_keys"]:
        guest["ssh_keys"] = [key for name in options["ssh_keys"] for key in _ssh_keys(name)]
    if options["nics"]:
        guest["nics"] = [_nic(text) for text in options["nics"]]
    password = _password(options)
    return guest if password is None else {**guest, "password": password}


def _password(options: dict[str, Any]) -> str | None:
    if options["password_file"] is not None and options["password_prompt"]:
        raise click.UsageError("give --password-file or --password-prompt, not both")
    if options["password_prompt"]:
        return str(click.prompt("Password of the VM", hide_input=True, confirmation_prompt=True, err=True))
    if options["password_file"] is None:
        return None
    if options["password_file"] == options["user_data"] == STDIN:
        raise click.UsageError("standard input can be the password or the user data, not both")
    password = _text(_read(options["password_file"]), "--password-file").removesuffix("\n").removesuffix("\r")
    if "\n" in password:
        raise click.BadParameter("has more than one line", param_hint="--password-file")
    return password


def _user_data(content: bytes) -> dict[str, str]:
    try:
        return {"text": content.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}


def _ssh_keys(name: str) -> list[dict[str, str]]:
    lines = [line.strip() for line in _text(_read(name), "--ssh-key").splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    label = "stdin" if name == STDIN else Path(name).stem
    return [{"name": label if len(keys) == 1 else f"{label}-{index}", "key": key} for index, key in enumerate(keys, 1)]


def _metadata(pairs: tuple[str, ...]) -> dict[str, Any]:
    given = [_pair(text, "--metadata") for text in pairs]
    known: dict[str, Any] = {key: value for key, value in given if key in _METADATA}
    extra = {key: value for key, value in given if key not in _METADATA}
    return {**known, "extra": extra} if extra else known


def _services(pairs: tuple[str, ...]) -> dict[str, list[str]]:
    services: dict[str, list[str]] = {}
    for text in pairs:
        service, provider = _pair(text, "--service")
        services.setdefault(service, []).append(provider)
    return services


def _nic(text: str) -> dict[str, Any]:
    """Read `mac=…,cidr=…,gateway=…,dns=…,mtu=…,default`: one IP network per NIC, which is what most VMs have."""
    nic: dict[str, Any] = {}
    address: dict[str, Any] = {}
    for part in text.split(","):
        if part == "default":
            nic["default"] = True
            continue
        key, value = _pair(part, "--nic")
        match key:
            case "mac":
                nic["mac"] = value
            case "mtu":
                nic["mtu"] = _number(value)
            case "dns":
                nic.setdefault("dns", []).append(value)
            case "cidr" | "gateway":
                address[key] = value
            case "dhcp":
                address["dhcp"] = _number(value)
            case _:
                known = "mac, cidr, gateway, dhcp, dns, mtu, default"
                raise click.BadParameter(f"has the unknown key {key!r}; known are {known}", param_hint="--nic")
    return {**nic, "addresses": [address]} if address else nic


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise click.BadParameter("'mtu' and 'dhcp' are numbers", param_hint="--nic") from None


def _pair(text: str, option: str) -> tuple[str, str]:
    key, found, value = text.partition("=")
    if not found or not key:
        raise click.BadParameter("needs the form KEY=VALUE", param_hint=option)
    return key, value


def _read(name: str) -> bytes:
    if name == STDIN:
        return sys.stdin.buffer.read()
    return Path(name).read_bytes()


def _text(content: bytes, option: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise click.BadParameter("is not UTF-8 text", param_hint=option) from None
