"""Drives for the guest's program: the fleet's own, and hostile ones that the fleet refuses to build."""

from __future__ import annotations

import itertools
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import pytest

from configdrive.drive_data import Metadata, SshKey, VmData
from configdrive.model import VmUuid
from tests.drives import VM, files_of, secret, write_image
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


CLONE = "5b1d7c0e-8a4f-4d0b-9c36-2f7e1a60d9b4"
"""The uuid of a VM that was made of the other one."""

EXTRA = {"Role": "web", "a-b": "hyphen", "uuid": "not-the-vms", "text": 'a "uuid": "nor this"'}
"""Metadata that nobody may take for the VM's identity among them."""


class Drive(Protocol):
    """Makes a drive as the fleet does."""

    def __call__(  # noqa: PLR0913  # each is one thing on the drive
        self,
        *,
        password: str | None = PASSWORD,
        user_data: bytes | None = USER_DATA,
        keys: Sequence[SshKey] = KEYS,
        label: str = "config",
        instance: str | None = "i-2-14-VM",
        uuid: str = VM.uuid,
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

    def make(  # noqa: PLR0913  # as above
        *,
        password: str | None = PASSWORD,
        user_data: bytes | None = USER_DATA,
        keys: Sequence[SshKey] = KEYS,
        label: str = "config",
        instance: str | None = "i-2-14-VM",
        uuid: str = VM.uuid,
    ) -> Path:
        data = VmData(
            metadata=Metadata(instance_id=instance, vm_id="14", extra=EXTRA),
            user_data=secret(user_data),
            ssh_keys=tuple(keys),
        )
        files = files_of(data, password, replace(VM, uuid=VmUuid(uuid)))
        return write_image(tmp_path / f"drive-{next(numbers)}.iso", files, label)

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
