"""Drives for the guest's program: the fleet's own, and hostile ones that the fleet refuses to build."""

from __future__ import annotations

import itertools
import subprocess
from typing import TYPE_CHECKING, Protocol

import pytest

from configdrive.model import Metadata, SshKey, VmData
from tests.drives import files_of, secret, write_image
from tests.integration.guest.guest import Seen, play
from tests.support import find_program, require_rig

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PASSWORD = "pä$$ \"wörd\" 'with' \\n:everything`id`\N{GRINNING FACE}"
USER_DATA = b'#!/bin/sh\necho "$0" \xe9\xff\necho run >>/root/runs\n'
KEYS = (
    SshKey("alice", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAlice alice@example"),
    SshKey("bob", "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYBob== bob's key"),
)


class Drive(Protocol):
    """Makes a drive as the fleet does."""

    def __call__(
        self,
        *,
        password: str | None = PASSWORD,
        user_data: bytes | None = USER_DATA,
        keys: Sequence[SshKey] = KEYS,
        label: str = "config",
        instance: str | None = "i-2-14-VM",
    ) -> Path: ...


class Forge(Protocol):
    """Makes a drive of a directory tree with a tool that is not ours."""

    def __call__(self, tree: Path, label: str = "config") -> Path: ...


class Play(Protocol):
    """Plays a scenario under each shell."""

    def __call__(self, drives: Sequence[Path], scenario: str) -> list[Seen]: ...


@pytest.fixture
def drive(tmp_path: Path) -> Drive:
    numbers = itertools.count(1)

    def make(
        *,
        password: str | None = PASSWORD,
        user_data: bytes | None = USER_DATA,
        keys: Sequence[SshKey] = KEYS,
        label: str = "config",
        instance: str | None = "i-2-14-VM",
    ) -> Path:
        data = VmData(
            metadata=Metadata(instance_id=instance, vm_id="14", extra={"Role": "web", "a-b": "hyphen"}),
            user_data=secret(user_data),
            ssh_keys=tuple(keys),
        )
        return write_image(tmp_path / f"drive-{next(numbers)}.iso", files_of(data, password), label)

    return make


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    with require_rig():
        genisoimage = find_program("genisoimage", "genisoimage")
    numbers = itertools.count(1)

    def make(tree: Path, label: str = "config") -> Path:
        path = tmp_path / f"forged-{next(numbers)}.iso"
        options = ["-quiet", "-R", "-iso-level", "3", "-V", label]
        subprocess.run([genisoimage, *options, "-o", path, tree], check=True, timeout=600)
        return path

    return make


@pytest.fixture
def play_in(tmp_path: Path) -> Play:
    def run(drives: Sequence[Path], scenario: str) -> list[Seen]:
        with require_rig():
            return play(drives, scenario, tmp_path)
        raise AssertionError

    return run
