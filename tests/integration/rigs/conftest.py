"""The rigs themselves, as their own tests use them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rigs.guest import GuestKernel
from rigs.libvirt import LibvirtHost
from rigs.process import find_program
from tests.support import require_rig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="package")
def guest() -> GuestKernel:
    with require_rig():
        return GuestKernel.prepare()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LibvirtHost]:
    """One host with a pool `primary`, listening for TLS too, whose `private` directory is its own."""
    directory = tmp_path_factory.mktemp("host")
    with require_rig():
        host = LibvirtHost(directory / "state", tls=True, private=[directory / "private"])
        host.start()
    try:
        host.define_pool("primary", directory / "primary")
        yield host
    finally:
        host.stop()


@pytest.fixture(scope="package")
def make_iso() -> Callable[..., Path]:
    """Make an image with a tool that is not ours."""
    with require_rig():
        genisoimage = find_program("genisoimage", "genisoimage")

    def make(path: Path, files: Mapping[str, bytes], label: str = "config") -> Path:
        tree = path.with_suffix(".tree")
        for name, content in files.items():
            file = tree / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        subprocess.run([genisoimage, "-quiet", "-R", "-J", "-V", label, "-o", path, tree], check=True, timeout=300)
        return path

    return make


@pytest.fixture
def killed_after() -> Callable[..., list[int]]:
    """Run a script that prints process ids, one a line, kill it with SIGKILL, and return the ids."""

    def run(script: str, *arguments: str) -> list[int]:
        with subprocess.Popen(
            [sys.executable, "-c", script, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout
            pids = [int(line) for line in iter(process.stdout.readline, "\n")]
            process.kill()
        return pids

    return run


def gone(pid: int) -> bool:
    """Say whether a process has ended (one that nobody has asked for its exit status yet has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
