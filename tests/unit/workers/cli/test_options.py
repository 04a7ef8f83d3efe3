import click
import pytest
from click.testing import CliRunner

from workers.cli.errors import ExitCode
from workers.cli.options import WAIT_SECONDS, WaitCommand, wait_option


@click.command(cls=WaitCommand)
@click.argument("file", required=False)
@wait_option
@click.option("--json", "as_json", is_flag=True)
def waiting(file: str | None, wait_seconds: float | None, *, as_json: bool) -> None:
    click.echo(f"{file} {wait_seconds} {as_json}")


@pytest.mark.parametrize(
    ("args", "shown"),
    [
        ([], "None None False"),
        (["f"], "f None False"),
        (["--wait", "f"], f"f {WAIT_SECONDS} False"),
        (["f", "--wait"], f"f {WAIT_SECONDS} False"),
        (["f", "--wait", "5"], "f 5.0 False"),
        (["--wait=2.5", "f"], "f 2.5 False"),
        (["--wait", "-"], f"- {WAIT_SECONDS} False"),
        (["--wait", "--json", "f"], f"f {WAIT_SECONDS} True"),
    ],
)
def test_seconds_may_be_left_out(args: list[str], shown: str) -> None:
    assert CliRunner().invoke(waiting, args).stdout.strip() == shown


@pytest.mark.parametrize("seconds", ["0", "-3"])
def test_no_time_is_no_waiting(seconds: str) -> None:
    assert CliRunner().invoke(waiting, [f"--wait={seconds}"]).exit_code == ExitCode.USAGE
