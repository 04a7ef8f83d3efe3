"""The list of commands, loaded one at a time, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import io
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn, cast

import click
from typing_extensions import override

from configdrive import __version__
from workers.cli.errors import ExitCode, problem_of
from workers.cli.options import Suggesting
from workers.cli.process import ctrl_c_pressed

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "publish": ("workers.cli.publish", "publish", "Publish events from a file or standard input."),
    "event": ("workers.cli.event", "event", "Write one event from options, or publish it."),
    "watch": ("workers.cli.watch", "watch", "Show outcomes as they happen."),
    "list": ("workers.cli.list", "list_", "List the VMs: where each one's drive is, and what waits."),
    "show": ("workers.cli.show", "show", "Show one VM, or what is waiting and parked."),
    "retry": ("workers.cli.retry", "retry", "Try a parked event again."),
    "skip": ("workers.cli.skip", "skip", "Give up the event at the head of a VM's mailbox."),
    "sequence": ("workers.cli.sequence", "sequence", "Show or set the sequence that a VM's next event must exceed."),
    "dead": ("workers.cli.dead", "dead", "List what could not be taken as an event."),
    "build": ("workers.cli.build", "build", "Build the drive of an event as a file, without any fleet."),
    "worker": ("workers.cli.worker", "worker", "Work on the events of one hypervisor."),
    "cloudstack": ("workers.cli.cloudstack", "cloudstack", "Take what CloudStack publishes, as events."),
    "flower": ("workers.cli.flower", "flower", "Watch workers and events in the browser."),
    "wake": ("workers.cli.wake", "wake", "Send wake-ups that are missing or due."),
    "sweep": ("workers.cli.sweep", "sweep", "Delete images that no VM needs any more."),
    "adopt": ("workers.cli.adopt", "adopt", "Remember the drives that are there: after the loss of Redis."),
    "doctor": ("workers.cli.doctor", "doctor", "Check settings, Redis, keys and every host."),
    "settings": ("workers.cli.settings", "settings", "Show the settings in force, and where each comes from."),
    "keys": ("workers.cli.keys", "keys", "Make, list, rotate and retire the fleet's keys."),
    "functions": (
        "workers.cli.functions",
        "functions",
        "Load PUT as a function of Redis, for any language.",
    ),
    "schema": ("workers.cli.schema", "schema", "Print the contracts: event, outcome, AsyncAPI."),
}
"""Name -> module, attribute and the line in `configdrive --help`, which is written without importing any of them."""


class _ReaderGone(Exception):  # noqa: N818 - no error: whoever reads our output has seen enough
    """Standard output is closed at the other end."""


class Program(Suggesting):
    """A group that imports a command when it is asked for, and turns every error into a message and an exit code."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _line = COMMANDS[cmd_name]
        return cast("click.Command", getattr(import_module(module), attribute))

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_module, _attribute, line) in COMMANDS.items()])

    @override
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _ReaderGone from None  # click would end the process with code 1

    @override
    def main(  # type: ignore[override]  # click's overloads return in other modes; this one always ends the process
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        **extra: Any,
    ) -> NoReturn:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a terminal of another charset is no reason to fail
        extra["standalone_mode"] = False
        try:
            answer = super().main(args, prog_name or "configdrive", **extra)
            sys.stdout.flush()
        except (KeyboardInterrupt, click.Abort):
            code = ExitCode.INTERRUPTED
        except _ReaderGone:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit fails once more
            code = ExitCode.READER_GONE
        except click.ClickException as error:
            error.show()
            code = ExitCode(error.exit_code)
        except Exception as error:  # noqa: BLE001 - whatever it is: a user gets a sentence, not a traceback
            code = ExitCode.INTERRUPTED if ctrl_c_pressed() else _explained(error)
        else:
            code = ExitCode(answer or 0)
        ctrl_c_pressed()
        sys.exit(code)


def _explained(error: Exception) -> ExitCode:
    problem = problem_of(error)
    click.echo(f"configdrive: {problem.message}", err=True)
    if problem.remedy:
        click.echo(f"  remedy: {problem.remedy}", err=True)
    return problem.code


@click.group(
    "configdrive",
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""
    \b
    A first look (needs a Redis and an inventory, see the README):
      configdrive doctor
      configdrive worker --hypervisor kvm
      configdrive publish event.json --wait

    \b
    Settings are environment variables, CONFIGDRIVE_REDIS_URL=redis://… and so on, or a TOML file
    named by CONFIGDRIVE_SETTINGS. `configdrive settings` shows them, and where each comes from.

    \b
    Exit codes:
      0    done
      1    an event was refused, dropped as stale, parked or skipped; or doctor, sweep or adopt found a failure
      2    wrong usage
      3    the time was over while waiting; nothing is lost
      69   Redis cannot be reached
      70   an error that nobody foresaw
      78   misconfigured: the message says what, and the remedy
      130  interrupted by Ctrl-C

    \b
    Completion of commands and options in your shell:
      eval "$(_CONFIGDRIVE_COMPLETE=bash_source configdrive)"     # ~/.bashrc; zsh: zsh_source
      _CONFIGDRIVE_COMPLETE=fish_source configdrive | source      # ~/.config/fish/config.fish
    """,
)
@click.version_option(__version__, prog_name="configdrive")
@click.pass_context
def program(ctx: click.Context) -> None:
    """Config drives for VMs: lifecycle events go in, the right ISO is attached on the right host.

    An orchestrator publishes events (a VM is deployed, started, stopped, ...). They wait in the VM's mailbox on Redis;
    workers take them one by one and in order, and write an outcome for each.
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False
