"""What the README and `docs/how-to/kvm.md` show for a first VM, typed at a terminal, with a real libvirtd."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from configdrive.model import HostName, HypervisorName, InstanceName, Vm, VmUuid
from docs.blocks import PAGES, ROOT, Covered, blocks_of
from tests.rigs.fleet import Fleet
from tests.rigs.libvirt import LibvirtHost
from tests.support import find_program, require_rig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytest.importorskip("libvirt")

GUIDE: Final = PAGES / "how-to" / "kvm.md"
WEB: Final = Vm(
    VmUuid("6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10"), InstanceName("web"), HypervisorName("kvm"), HostName("kvm-01")
)
PASSWORD: Final = "Hunter2-of-the-guide"
_PROMPT: Final = b": "
_SECONDS: Final = 100


def commands(page: Path) -> list[str]:
    """Return the blocks that say that this file runs them."""
    mine = Covered(str(Path(__file__).relative_to(ROOT)))
    return [block.text for block in blocks_of(page) if block.language == "sh" and block.mark == mine]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LibvirtHost]:
    from tests.integration.kvm.cloud import Cloud  # noqa: PLC0415  # needs libvirt-python

    with require_rig(), LibvirtHost(tmp_path / "libvirt", "kvm-01") as host:
        cloud = Cloud(host, "primary", tmp_path / "pool", "kvm-01")
        cloud.define(vm=WEB)
        yield host
        cloud.clean()
        cloud.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What the guides take for granted: a script, and a public key."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / "hello.sh").write_text("#!/bin/sh\necho hello\n", "utf-8")
    key = "AAAAC3NzaC1lZDI1NTE5AAAAIGPlZ0hWZkFPY1dRTmR4b3RkQ0h3cUZ1dHJGUnRa"
    (home / ".ssh" / "id_ed25519.pub").write_text(f"ssh-ed25519 {key} alice@example\n", "utf-8")
    return home


def at_a_terminal(script: str, home: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """Run a script whose questions for a password are answered; returns its exit code, and what stood on the screen."""
    ours, its = os.openpty()
    argv = [
        find_program("setsid", "util-linux"),
        "--ctty",
        "--wait",
        "timeout",
        str(_SECONDS),
        "bash",
        "-eux",
        "-c",
        script,
    ]
    with subprocess.Popen(argv, cwd=home, env=environment, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        screen = b""
        while chunk := _read(ours):
            screen += chunk
            if screen.endswith(_PROMPT):
                os.write(ours, f"{PASSWORD}\n".encode())
        code = process.wait()
    os.close(ours)
    return code, screen.decode("utf-8", "replace")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux says so when nobody has the other end open any more
        return b""


def test_a_vm_gets_its_drive_and_loses_it_again_as_the_guide_says(
    host: LibvirtHost, home: Path, tmp_path: Path
) -> None:
    deploy_and_start, away = commands(GUIDE)
    inventory = f'[kvm.hosts.kvm-01]\nuri = "{host.uri}"\n'
    with require_rig(), Fleet(tmp_path / "fleet", inventory, hypervisor="kvm", options=["--pool", "solo"]) as fleet:
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
        environment = {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "LIBVIRT_DEFAULT_URI": host.uri}
        code, screen = at_a_terminal(f"{deploy_and_start}\n{away}", home, {**environment, **fleet.environment})
    assert code == 0, screen
    assert "attach=inserted" in screen
    assert f"configdrive/web.{WEB.uuid}.2.iso" in screen
    assert PASSWORD not in screen
    assert list((tmp_path / "pool").rglob("*.iso")) == []


def test_the_readme_shows_the_same() -> None:
    assert commands(ROOT / "README.md") == commands(GUIDE)
