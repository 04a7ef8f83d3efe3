"""`configdrive event <type>`: one lifecycle event from options. What is made of them stands in `composing`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from workers.cli.context import VM, InOrder
from workers.cli.waiting import WaitCommand, wait_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from workers.cli.exits import ExitCode

_Function = TypeVar("_Function", bound="Callable[..., Any]")
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
    click.option("--presentation", type=click.Choice(["cdrom", "disk"]), help="How the guest sees the drive."),
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
        help="A NIC (repeatable). Keys: cidr, gateway, dhcp=4|6, dns (repeatable), mtu, default.",
    ),
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
    from workers.cli.event_options import emit

    return emit(event_type, options, {key: value for key, value in own.items() if value is not None})


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
