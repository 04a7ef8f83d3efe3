import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
import pytest
from click.testing import CliRunner

import workers.cli
from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from tests.unit.workers.cli.conftest import Run
from workers.cli.errors import ExitCode
from workers.cli.program import COMMANDS, program


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            yield (*path, name), command
            if isinstance(command, click.Group):
                yield from commands(command, (*path, name))


EVERY = dict(commands(program))


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_command_and_option_explains_itself(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(program, [*path, "--help"])

    assert shown.exit_code == ExitCode.DONE
    usage, _, rest = shown.stdout.partition("\n")
    assert usage.startswith(f"Usage: configdrive {' '.join(path)} ")
    example = re.search(r"^ {4}\S*.*configdrive (.*)$", rest.split("Options:")[0], re.MULTILINE)
    assert example is not None
    assert example[1].startswith(" ".join(path))
    options = [parameter for parameter in EVERY[path].params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_the_list_of_commands_says_the_same_as_the_commands() -> None:
    said = {name: line for name, (_module, _attribute, line) in COMMANDS.items()}

    assert said == {path[0]: command.short_help for path, command in EVERY.items() if len(path) == 1}


def test_help_names_every_exit_code() -> None:
    shown = CliRunner().invoke(program, ["--help"]).stdout
    documented = {int(number) for number in re.findall(r"^    +(\d+) +\w", shown, re.MULTILINE)}

    assert documented == {code.value for code in ExitCode} - {ExitCode.READER_GONE}
    assert workers.cli.__doc__ is not None
    assert documented == {int(number) for number in re.findall(r"^\| (\d+) ", workers.cli.__doc__, re.MULTILINE)}


def test_help_loads_nothing_that_a_fleet_needs() -> None:
    code = (
        "import sys; from workers.cli import program\n"
        "try: program.main(['--help'])\n"
        "except SystemExit: print([name for name in sys.argv[1:] if name in sys.modules])"
    )
    heavy = ["pydantic", "redis", "celery", "kombu", "nacl", "pycdlib", "asyncio"]
    shown = subprocess.run(
        [sys.executable, "-c", code, *heavy], check=True, capture_output=True, text=True, timeout=600
    )

    assert shown.stdout.splitlines()[-1] == "[]"


def test_an_unknown_command_is_wrong_usage() -> None:
    shown = CliRunner().invoke(program, ["destroy-everything"])

    assert shown.exit_code == ExitCode.USAGE
    assert "No such command 'destroy-everything'" in shown.stderr


def test_colours_can_be_turned_off(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("keys", "generate")
    coloured = CliRunner().invoke(program, ["keys", "list"], color=True).stdout
    monkeypatch.setenv("NO_COLOR", "1")
    plain = CliRunner().invoke(program, ["keys", "list"], color=True).stdout

    assert "\x1b" in coloured
    assert plain == click.unstyle(coloured)


def test_completion_knows_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_CONFIGDRIVE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "configdrive pub")
    monkeypatch.setenv("COMP_CWORD", "1")

    assert CliRunner().invoke(program, [], prog_name="configdrive").stdout == "plain,publish\n"


@contextmanager
def failing_command(error: BaseException) -> Iterator[str]:
    """Put a command into the module of a real one that fails as reported."""

    @click.command()
    def command() -> None:
        raise error

    from workers.cli import schema as module  # noqa: PLC0415 - patched in place

    real = module.schema
    module.schema = command
    try:
        yield "schema"
    finally:
        module.schema = real


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            PermanentError(PermanentCode.MISCONFIGURED, "the key file is gone", "find it"),
            ExitCode.MISCONFIGURED,
            "configdrive: misconfigured: the key file is gone\n  remedy: find it\n",
        ),
        (
            PermanentError(PermanentCode.UNKNOWN_HYPERVISOR, "no driver is called 'x'"),
            ExitCode.MISCONFIGURED,
            "configdrive: unknown_hypervisor: no driver is called 'x'\n",
        ),
        (
            TransientError(TransientCode.STORAGE_FULL, "pool a is full"),
            ExitCode.FAILED,
            "configdrive: storage_full: pool a is full\n",
        ),
        (
            FileNotFoundError(2, "No such file or directory", "/nowhere/x"),
            ExitCode.MISCONFIGURED,
            "configdrive: /nowhere/x: No such file or directory\n  remedy: correct the path or its permissions\n",
        ),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED, "\n"),
        (click.Abort(), ExitCode.INTERRUPTED, ""),
        (click.UsageError("not like this"), ExitCode.USAGE, "not like this"),
    ],
    ids=["misconfigured", "unknown hypervisor", "other", "file", "Ctrl-C", "abort", "usage"],
)
def test_an_error_becomes_a_sentence_and_an_exit_code(error: BaseException, code: ExitCode, message: str) -> None:
    with failing_command(error) as name:
        shown = CliRunner().invoke(program, [name])

    assert shown.exit_code == code
    assert shown.stdout == ""
    if code is ExitCode.USAGE:
        assert message in shown.stderr
    else:
        assert shown.stderr == message


def test_an_unforeseen_error_tells_where_but_not_its_text() -> None:
    with failing_command(RuntimeError("Hunter2")) as name:
        shown = CliRunner().invoke(program, [name])

    assert shown.exit_code == ExitCode.UNFORESEEN
    assert "unforeseen RuntimeError at test_program.py:" in shown.stderr
    assert "Hunter2" not in shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_traceback_is_shown_to_who_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFIGDRIVE_TRACEBACK", "1")
    with failing_command(RuntimeError("broken")) as name:
        shown = CliRunner().invoke(program, [name])

    assert "RuntimeError: broken" in shown.stderr


def test_a_number_that_a_command_returns_is_the_exit_code(run: Run) -> None:
    assert run("keys", "public").exit_code == ExitCode.MISCONFIGURED
    assert run("keys", "generate").exit_code == ExitCode.DONE
    assert run("keys", "generate").exit_code == ExitCode.FAILED
