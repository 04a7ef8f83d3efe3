"""What tests of every kind need: services that may be missing, ports, and waiting with a limit."""

from __future__ import annotations

import os
import shutil
import socket
import time
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# An ordinary user's PATH lacks these on Debian; libvirtd and sshd are there.
ADMIN_PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin")


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


def require_command(name: str) -> str:
    """Return the full path of a program the test needs, also when it lies where only root looks."""
    path = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *ADMIN_PATH)))
    require(path, f"{name} is not installed (setup/debian.sh installs it)")
    assert path is not None
    return path


def free_port() -> int:
    """Return a TCP port of the loopback address that nobody listens on at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(probe: Callable[[], T | None], what: str, *, timeout: float = 10.0, interval: float = 0.02) -> T:
    """Call `probe` until it answers something true, and return that answer.

    Args:
        probe: is asked again and again; what it raises is not caught.
        what: ends the sentence "waited N s for ...".
        timeout: seconds after which the test fails.
        interval: seconds between two questions.
    """
    __tracebackhide__ = True
    deadline = time.monotonic() + timeout
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout:g} s for {what}")
        time.sleep(interval)
