"""What tests of every kind need: services that may be missing, ports, and waiting with a limit."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import ParamSpec

import pytest
from click.testing import CliRunner, Result

from configdrive.errors import FleetError
from rigs.process import RigUnavailable, find_program, free_port, wait_until

P = ParamSpec("P")

__all__ = [
    "error_of",
    "find_program",
    "free_port",
    "on_ci",
    "require",
    "require_rig",
    "run_command",
    "wait_until",
]


def on_ci() -> bool:
    """Say whether this run must not leave anything out: `CI=true`."""
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def require(condition: object, reason: str) -> None:
    """Leave the test out when the machine lacks something it needs; on CI, fail it instead.

    Works in a test, in a fixture and at the top of a module.
    """
    __tracebackhide__ = True
    if condition:
        return
    if on_ci():
        pytest.fail(f"needed on CI: {reason}", pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def error_of(call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> FleetError:
    """Return the error that a call ends with; fail when it does not end with one of ours."""
    __tracebackhide__ = True
    with pytest.raises(FleetError) as caught:
        call(*args, **kwargs)
    return caught.value


def run_command(environment: Mapping[str, str], *words: str, stdin: str | bytes = "") -> Result:
    """Run `configdrive …` in this process, which has everything loaded, with these settings and no others."""
    from workers.cli import program  # noqa: PLC0415  # most tests need none of it

    names = {name: None for name in os.environ if name.startswith("CONFIGDRIVE_")}
    return CliRunner(env=names).invoke(program, words, input=stdin, env=environment)


@contextmanager
def require_rig() -> Iterator[None]:
    """Around the start of a rig or `find_program`: what the machine cannot offer is handled as by `require`."""
    __tracebackhide__ = True
    try:
        yield
    except RigUnavailable as error:
        require(condition=False, reason=str(error))
