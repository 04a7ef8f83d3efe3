"""What the packages have beside the program; `make test-packages` installs and uses them."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import click
import pytest

from deploy.packages import build
from deploy.packages.inside import MissingDistributionError, closure, fetch
from deploy.packages.man_page import man_page
from workers.cli.program import COMMANDS, program
from workers.config.cloudstack import CloudStackSettings
from workers.config.settings import Settings

DEBIAN = Path(build.__file__).with_name("debian")


def test_the_man_page_has_every_command_and_option() -> None:
    page = man_page("2026-03-10").replace("\\-", "-")
    context = click.Context(program)
    for name in COMMANDS:
        assert f".SS configdrive {name} " in page
        command = program.get_command(context, name)
        assert command is not None
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert parameter.opts[-1] in page, (name, parameter.opts)
    assert not re.findall(r"^[.'](?!(?:TH|SH|SS|TP|PP|B|I|nf|fi)\b).*", page, re.MULTILINE)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_asks_the_program_itself(shell: str) -> None:
    assert f"_CONFIGDRIVE_COMPLETE={shell}_complete" in build.completion(shell)


def test_the_client_s_wheel_asks_for_no_queue_and_no_screen(tmp_path: Path) -> None:
    requirements = build.requirements_of(build.client_wheel(tmp_path))
    inside = closure(requirements)
    names = {one.name.lower() for one in inside.distributions}
    assert inside.missing == []
    loads = "import sys, configdrive.client; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", loads], capture_output=True, text=True, check=True).stdout.split()
    owners = packages_distributions()
    optional = {"opentelemetry", "psutil", "cryptography"}  # redis looks for them
    needed = {owners[name][0].lower() for name in loaded if name in owners and name not in optional}
    assert needed - {"configdrive-fleet", "opentelemetry-api", "setuptools"} <= names
    assert not {"celery", "kombu", "click", "pycdlib", "flower", "configdrive-fleet"} & names


def test_what_is_missing_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(MissingDistributionError, match=r"no-such-thing is not in \.venv: run `make setup`"):
        fetch(closure(["no-such-thing"]).missing, build.ROOT / "constraints.txt", tmp_path)


def test_what_only_another_python_needs_is_named() -> None:
    assert closure(["redis"], "3.11.2").missing in (["async-timeout"], [])
    assert closure(["redis"], "3.12.0").missing == []


@pytest.mark.parametrize("example", sorted(DEBIAN.parent.glob("*.example.toml")), ids=lambda file: file.name)
def test_an_example_has_settings_that_there_are_and_no_key_of_anybody_s(example: Path) -> None:
    found = tomllib.loads(example.read_text())
    own = CloudStackSettings.model_validate(found.pop("cloudstack", {}))
    assert found.keys() <= Settings.model_fields.keys()
    assert "PASSWORD" in found["redis_url"]
    assert own.amqp_url is None or "PASSWORD" in own.amqp_url.get_secret_value()
    assert str(example.relative_to(build.ROOT)) in build.EXAMPLES
