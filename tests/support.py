"""What tests of every kind need: services that may be missing, ports, and waiting with a limit."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, ParamSpec

import pytest

from configdrive.errors import FleetError
from rigs.process import RigUnavailable, find_program, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P = ParamSpec("P")

__all__ = ["error_of", "find_program", "free_port", "on_ci", "require", "require_rig", "wait_until"]


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


@contextmanager
def require_rig() -> Iterator[None]:
    """Around the start of a rig or `find_program`: what the machine cannot offer is handled as by `require`."""
    __tracebackhide__ = True
    try:
        yield
    except RigUnavailable as error:
        require(condition=False, reason=str(error))
