"""Drives for the guest's program: the fleet's own, and hostile ones that the fleet refuses to build."""

import itertools
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from configdrive.drive_data import Metadata, SshKey, VmData
from configdrive.model import VmUuid
from tests.drives import VM, files_of, secret, write_image
from tests.integration.guest.guest import Seen, play
from tests.support import find_program, require_rig

PASSWORD = "pä$$ \"wörd\" 'with' \\n:everything`id`\N{GRINNING FACE}"
USER_DATA = b'#!/bin/sh\necho "$0" \xe9\xff\necho run >>/root/runs\n'
KEYS = (
    SshKey("alice", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAlice alice@example"),
    SshKey("bob", "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYBob== bob's key"),
)
EXTRA = {"Role": "web", "a-b": "hyphen", "uuid": "not-the-vms", "text": 'a "uuid": "nor this"'}
"""Metadata that nobody may take for the VM's identity among them."""


class Stage:
    """Makes drives, and plays scenarios with them under each shell."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count(1)

    def drive(  # noqa: PLR0913  # each is one thing on the drive
        self,
        *,
        password: str | None = PASSWORD,
        user_data: bytes | None = USER_DATA,
        keys: Sequence[SshKey] = KEYS,
        label: str = "config",
        instance: str | None = "i-2-14-VM",
        uuid: str = VM.uuid,
    ) -> Path:
        """Make a drive as the fleet does."""
        data = VmData(
            metadata=Metadata(instance_id=instance, vm_id="14", extra=EXTRA),
            user_data=secret(user_data),
            ssh_keys=tuple(keys),
        )
        files = files_of(data, password, replace(VM, uuid=VmUuid(uuid)))
        return write_image(self._directory / f"drive-{next(self._numbers)}.iso", files, label)

    def tree(self, files: Mapping[str, bytes]) -> Path:
        """Make a directory of such files, to be spoilt further and forged."""
        root = self._directory / f"tree-{next(self._numbers)}"
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        return root

    def forged(self, tree: Path) -> Path:
        """Make a drive of a directory tree with a tool that is not ours."""
        with require_rig():
            genisoimage = find_program("genisoimage", "genisoimage")
        path = tree.with_suffix(".iso")
        options = ["-quiet", "-R", "-iso-level", "3", "-V", "config"]
        subprocess.run([genisoimage, *options, "-o", path, tree], check=True, timeout=600)
        return path

    def play(self, scenario: str, *drives: Path) -> list[Seen]:
        """Play a scenario; the drives are `/dev/drive-a` and so on."""
        with require_rig():
            return play(drives, scenario, self._directory)
        raise AssertionError


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)
