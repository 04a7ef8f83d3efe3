"""`configdrive event <type>`: one lifecycle event from options, printed (sealed if need be) or published."""

from __future__ import annotations

import base64
import itertools
import json
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from workers.cli.context import load_settings, open_mailbox
from workers.cli.errors import ExitCode
from workers.cli.options import VM, InOrder, WaitCommand, wait_option
from workers.cli.publish import Entry, publish_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from configdrive.contract.events import LifecycleEvent
    from configdrive.model import VmUuid

_Function = TypeVar("_Function", bound="Callable[..., Any]")
_STDIN = "-"
_PLAIN = {
    "host": "host",
    "zone": "zone",
    "storage": "primary_storage",
    "attach": "attach",
    "presentation": "presentation",
    "guest_os": "guest_os",
}
_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True)

_COMMON = (
    click.option("--vm", type=VM, required=True, metavar="UUID", help="The VM's uuid."),
    click.option("--name", required=True, help="The VM's name on its hypervisor, such as i-2-14-VM."),
    click.option("--hypervisor", required=True, metavar="NAME", help="kvm, simulated, ..."),
    click.option("--host", help="The host in the inventory on which the VM lies; known already after the first event."),
    click.option(
        "--sequence",
        required=True,
        metavar="N|next",
        help="The VM's event counter, larger than in its earlier events; 'next' asks Redis for the last and adds one.",
    ),
    click.option("--id", "event_id", help="The event's id; a random uuid otherwise."),
    click.option("--source", default="configdrive-cli", show_default=True, help="Who says so."),
    click.option("--zone", help="Its zone, for the queue."),
    click.option("--storage", metavar="NAME", help="Its primary storage; found from the root disk otherwise."),
    click.option("--attach", type=click.Choice(["fleet", "orchestrator"]), help="Who puts the drive into the VM."),
    click.option("--presentation", type=click.Choice(["auto", "cdrom", "disk"]), help="How the guest sees the drive."),
    click.option("--guest-os", type=click.Choice(["windows", "linux", "other"]), help="What the guest runs."),
    click.option("--publish", is_flag=True, help="Publish the event instead of printing it."),
    wait_option,
    click.option("--json", "as_json", is_flag=True, help="With --publish: JSON for scripts."),
)

_CONTENT = (
    click.option(
        "--password-file", type=_FILE, help='A file with the password on its first line; "-": standard input.'
    ),
    click.option("--password-prompt", is_flag=True, help="Ask for the password on the terminal."),
    click.option("--user-data", type=_FILE, help="A file with the user data: text or any bytes."),
    click.option("--ssh-key", "ssh_keys", type=_FILE, multiple=True, help="A .pub file (repeatable)."),
    click.option(
        "--metadata",
        multiple=True,
        metavar="KEY=VALUE",
        help="local_hostname=web-1, availability_zone=..., or any entry of your own (repeatable).",
    ),
    click.option(
        "--nic",
        "nics",
        multiple=True,
        metavar="mac=MAC[,KEY=VALUE...]",
        help="A NIC (repeatable). Keys: cidr, gateway, on_link, dhcp=4|6, auto=slaac|stateless, none (no address), dns"
        " and search (repeatable), mtu, default.",
    ),
    click.option("--instance-id", help="What cloud-init knows the instance by, in place of the VM's uuid."),
    click.option("--label", help="The drive's volume label for this VM, such as config-2."),
    click.option(
        "--service",
        "services",
        multiple=True,
        metavar="SERVICE=PROVIDER",
        help="The network offering: UserData=ConfigDrive wants a drive, another provider wants none (repeatable).",
    ),
    click.option(
        "--password-enabled/--no-password-enabled",
        default=None,
        help="Whether the VM's template takes a password from the drive.",
    ),
)


@click.group(cls=InOrder, short_help="Write one event from options, or publish it.")
def event() -> None:
    """Write one event from options: for a first VM of your own, for scripts, and for learning the contract.

    The event is printed as JSON, or with --publish goes to the fleet at once. One that carries a password or user data
    is printed with its content sealed: it can be published as it is, and read by workers only.

    \b
    The life of a VM in six commands (the same options each time):
      vm="--vm 6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10 --name i-2-14-VM --hypervisor kvm --host kvm-01"
      configdrive event deploy $vm --sequence 1 --user-data web.yaml --ssh-key ~/.ssh/id_ed25519.pub --publish --wait
      configdrive event start $vm --sequence 2 --publish --wait
      configdrive event password-reset $vm --sequence 3 --password-prompt --publish --wait
      configdrive event stop $vm --sequence 4 --publish --wait
      configdrive event start $vm --sequence next --publish --wait
      configdrive event destroy $vm --sequence next --publish --wait

    A password is never an option's value, which every user of the machine could see: it comes from a file, from
    standard input or from a prompt.
    """


def _with(*options: Callable[[Any], Any]) -> Callable[[_Function], _Function]:
    def decorate(function: _Function) -> _Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _make(event_type: str, options: dict[str, Any], **own: object) -> ExitCode:
    """Make the event, and print or publish it. `own` are the fields of this type alone.

    Raises:
        PermanentError: `INVALID_EVENT` and the like, naming the field; `MISCONFIGURED`.
        UsageError: an option's value has not the form that its help shows.
    """
    from configdrive.contract.events import parse

    if options["wait_seconds"] is not None and not options["publish"]:
        raise click.UsageError("--wait needs --publish")
    if event_type == "password_reset" and not (options["password_file"] or options["password_prompt"]):
        raise click.UsageError("give the new password by --password-file or --password-prompt")
    document = {
        "specversion": "1.0",
        "id": options["event_id"] or str(uuid.uuid4()),
        "source": options["source"],
        "type": f"configdrive.vm.{event_type}.v1",
        "data": {**_data(options), **{key: value for key, value in own.items() if value is not None}},
    }
    # Where the charset is ASCII (LC_ALL=C) Python reads what was typed byte by byte; its bytes are taken for UTF-8.
    text = json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogateescape")
    if options["publish"]:
        entry = Entry("event", text)
        return publish_all([entry], wait_seconds=options["wait_seconds"], as_json=options["as_json"])
    event = parse(text)
    click.echo(_printable(event, json.loads(text)))
    return ExitCode.DONE


@event.command(cls=WaitCommand, short_help="The VM was created: lay its drive on its storage.")
@_with(*_COMMON, *_CONTENT)
@click.option("--start", is_flag=True, help="Attach the drive too: the VM is powered on right after.")
def deploy(*, start: bool, **options: object) -> ExitCode:
    """The VM was created: its drive is laid on the primary storage of its root disk.

    \b
    Example:
      configdrive event deploy --vm 6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10 --name i-2-14-VM \\
          --hypervisor kvm --host kvm-01 --sequence 1 --metadata local_hostname=web-1 \\
          --ssh-key ~/.ssh/id_ed25519.pub --user-data cloud-init.yaml --publish --wait
    """
    return _make("deploy", options, start=start or None)


@event.command(cls=WaitCommand, short_help="The VM is about to be powered on: attach a fresh drive.")
@_with(*_COMMON, *_CONTENT)
def start(**options: object) -> ExitCode:
    """The VM is about to be powered on (or runs already): a fresh drive is attached.

    \b
    Example, with $vm as in `configdrive event --help`:
      configdrive event start $vm --sequence 2 --publish --wait
    """
    return _make("start", options)


@event.command(cls=WaitCommand, short_help="The VM was stopped: detach and delete its drive.")
@_with(*_COMMON)
@click.option("--not-booted", is_flag=True, help="The power-on before it failed: its password stays pending.")
def stop(*, not_booted: bool, **options: object) -> ExitCode:
    """The VM was stopped: its drive is detached and deleted.

    \b
    Example, with $vm as in `configdrive event --help`:
      configdrive event stop $vm --sequence 4 --publish --wait
    """
    return _make("stop", options, booted=False if not_booted else None)


@event.command(cls=WaitCommand, short_help="The VM moves to another host: its drive follows.")
@_with(*_COMMON)
@click.option("--destination", required=True, metavar="HOST", help="Where the VM runs afterwards.")
@click.option("--phase", type=click.Choice(["prepare", "complete", "rollback"]), help="complete, unless given.")
def migrate(destination: str, phase: str | None, **options: object) -> ExitCode:
    """The VM moves to another host: its drive follows. --host is where it runs before.

    \b
    Example, with $vm as in `configdrive event --help`:
      configdrive event migrate $vm --sequence 5 --destination kvm-02 --phase prepare --publish --wait
      configdrive event migrate $vm --sequence 6 --destination kvm-02 --phase complete --publish --wait
    """
    return _make("migrate", options, destination=destination, phase=phase)


@event.command("password-reset", cls=WaitCommand, short_help="A new password: the next start delivers it.")
@_with(*_COMMON, *_CONTENT)
@click.option("--now", is_flag=True, help="Exchange the medium of the running VM at once.")
def password_reset(*, now: bool, **options: object) -> ExitCode:
    """The VM's password was reset: the next start delivers it.

    \b
    Examples, with $vm as in `configdrive event --help`:
      configdrive event password-reset $vm --sequence 3 --password-prompt --publish
      pwgen 16 1 | configdrive event password-reset $vm --sequence 3 --password-file - --publish
    """
    return _make("password_reset", options, apply="now" if now else None)


@event.command(cls=WaitCommand, short_help="New user data, ssh keys, metadata or label.")
@_with(*_COMMON, *_CONTENT)
@click.option("--now", is_flag=True, help="Exchange the medium of the running VM at once.")
@click.option("--password-delivered", is_flag=True, help="The guest has taken its password: remove it from the drive.")
def update(*, now: bool, password_delivered: bool, **options: object) -> ExitCode:
    """User data, ssh keys, metadata or label changed: they come with the next start, or now.

    \b
    Example, with $vm as in `configdrive event --help`:
      configdrive event update $vm --sequence 7 --ssh-key new.pub --now --publish --wait
      configdrive event update $vm --sequence 8 --password-delivered --publish
    """
    return _make("update", options, apply="now" if now else None, password_delivered=password_delivered or None)


@event.command(cls=WaitCommand, short_help="The VM is gone for good: remove its drive everywhere.")
@_with(*_COMMON)
def destroy(**options: object) -> ExitCode:
    """The VM is gone for good: its drive goes everywhere it ever lay, and its state is forgotten.

    \b
    Example, with $vm as in `configdrive event --help`:
      configdrive event destroy $vm --sequence 9 --publish --wait
    """
    return _make("destroy", options)


def _printable(event: LifecycleEvent, document: dict[str, Any]) -> str:
    """Return the event's JSON: as it was given when nothing in it is secret, else with its content sealed."""
    from configdrive.contract.events import ContentEvent
    from configdrive.contract.sealing import body_of
    from workers.config.key_ring import make_sealer

    guest = event.data.guest if isinstance(event, ContentEvent) else None
    if guest is None or (guest.password is None and guest.user_data is None):
        return json.dumps(document, indent=2)
    return body_of(event, make_sealer(load_settings())).decode()


def _data(options: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {
        "sequence": _sequence(options["sequence"], options["vm"]),
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
    from configdrive.lifecycle.state import peek

    view = open_mailbox().view(vm)
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
        guest["ssh_keys"] = _named_apart(key for name in options["ssh_keys"] for key in _ssh_keys(name))
    if options["instance_id"] is not None:
        guest["instance_id"] = options["instance_id"]
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
    if options["password_file"] == options["user_data"] == _STDIN:
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
    label = "stdin" if name == _STDIN else Path(name).stem
    return [{"name": label if len(keys) == 1 else f"{label}-{index}", "key": key} for index, key in enumerate(keys, 1)]


def _named_apart(keys: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """Number keys of the same name: `id_ed25519.pub` is what most people's files are called."""
    found: list[dict[str, str]] = []
    taken = set[str]()
    for key in keys:
        names = itertools.chain([key["name"]], (f"{key['name']}-{number}" for number in itertools.count(2)))
        name = next(name for name in names if name not in taken)
        taken.add(name)
        found.append({**key, "name": name})
    return found


def _metadata(pairs: tuple[str, ...]) -> dict[str, Any]:
    from configdrive.drive_data import Metadata

    given = [_pair(text, "--metadata") for text in pairs]
    fields = Metadata.__dataclass_fields__.keys() - {"extra"}
    known: dict[str, Any] = {key: value for key, value in given if key in fields}
    extra = {key: value for key, value in given if key not in fields}
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
        match part:
            case "default":
                nic["default"] = True
                continue
            case "on_link":
                address["on_link"] = True
                continue
            case "none":
                nic["addresses"] = []
                continue
            case _:
                pass
        key, value = _pair(part, "--nic")
        match key:
            case "mac":
                nic["mac"] = value
            case "mtu":
                nic["mtu"] = _number(value)
            case "dns" | "search":
                nic.setdefault(key, []).append(value)
            case "cidr" | "gateway" | "auto":
                address[key] = value
            case "dhcp":
                address["dhcp"] = _number(value)
            case _:
                known = "mac, cidr, gateway, on_link, dhcp, auto, none, dns, search, mtu, default"
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
    if name == _STDIN:
        return sys.stdin.buffer.read()
    return Path(name).read_bytes()


def _text(content: bytes, option: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise click.BadParameter("is not UTF-8 text", param_hint=option) from None
