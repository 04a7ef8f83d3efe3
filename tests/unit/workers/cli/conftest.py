"""The command line in this process, with settings of its own and a Redis that is not there."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from workers.cli import program

REDIS_PASSWORD = "redis-Hunter2"
NO_REDIS = f"redis://:{REDIS_PASSWORD}@127.0.0.1:1/0"


Run = Callable[..., Result]
"""Runs one command: its words, and `stdin`."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in list(os.environ):
        if name.startswith("CONFIGDRIVE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CONFIGDRIVE_REDIS_URL", NO_REDIS)
    monkeypatch.setenv("CONFIGDRIVE_KEYS_FILE", str(tmp_path / "keys.json"))
    monkeypatch.setenv("CONFIGDRIVE_INVENTORY", str(tmp_path / "inventory.toml"))

    def run(*args: str, stdin: str | bytes = "") -> Result:
        return CliRunner().invoke(program, args, input=stdin)

    return run
