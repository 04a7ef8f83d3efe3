"""What the README and `docs/how-to/kvm.md` show for a first VM, typed at a terminal, with a real libvirtd."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from configdrive.model import HostName, HypervisorName, InstanceName, Vm, VmUuid
from docs.blocks import PAGES, ROOT, blocks_of, commands_for
from rigs.fleet import Fleet
from rigs.libvirt import LibvirtHost
from rigs.terminal import PASSWORD, furnish, type_in
from tests.integration.docs.session import namespace
from tests.integration.kvm.cloud import open_cloud
from tests.support import require_rig
from workers.hypervisors.kvm.image_folder import shard_of

GUIDE: Final = PAGES / "how-to" / "kvm.md"
WEB: Final = Vm(
    VmUuid("6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10"), InstanceName("web"), HypervisorName("kvm"), HostName("kvm-01")
)


@pytest.fixture
def own_machine() -> Iterator[tuple[LibvirtHost, Path]]:
    """A host as on one's own machine, and the folder of its pool; the VM `web` is off."""
    with (
        tempfile.TemporaryDirectory(prefix="cd-") as short,  # a socket's path has 107 bytes at most
        open_cloud(Path(short), "kvm-01", name="kvm-01", pool="primary") as cloud,
    ):
        cloud.define(vm=WEB)
        yield cloud.host, cloud.pool


def test_a_vm_gets_its_drive_and_loses_it_again_as_the_guide_says(
    own_machine: tuple[LibvirtHost, Path], tmp_path: Path
) -> None:
    host, pool = own_machine
    deploy_and_start, away = commands_for(__file__, GUIDE)
    home = tmp_path / "home"
    furnish(home)
    inventory = f'[kvm.hosts.kvm-01]\nuri = "{host.uri}"\n'
    with require_rig(), Fleet(tmp_path / "fleet", inventory, hypervisor="kvm", options=["--pool", "solo"]) as fleet:
        environment = {"LIBVIRT_DEFAULT_URI": host.uri, **fleet.environment}
        code, screen = type_in(f"{deploy_and_start}\n{away}", home, environment)
    assert code == 0, screen
    assert "attach=inserted" in screen
    assert f"configdrive/{shard_of(WEB.uuid)}/web.{WEB.uuid}.2." in screen
    assert PASSWORD not in screen
    assert list(pool.rglob("*.iso")) == []


def test_the_readme_leads_to_the_vm_s_own_drive_in_eight_commands(
    own_machine: tuple[LibvirtHost, Path], tmp_path: Path
) -> None:
    """All but the first two are run here, on a machine whose network is its own; those `make demo` begins with, too."""
    host, pool = own_machine
    with require_rig():
        machine = [*namespace(), "bash", "-euxc"]
    ours = "".join(commands_for(__file__, ROOT / "README.md"))
    parts = (ROOT / "README.md").read_text("utf-8").split("\n## ")
    (section,) = (part for part in parts if part.startswith("Your own VM on your own libvirt host"))
    shown = "".join(block.text for block in blocks_of(ROOT / "README.md") if block.text in section)
    assert ours in shown
    lines = re.sub(r"<<'END'\n.*?\nEND\n", "\n", shown.replace("\\\n", ""), flags=re.DOTALL).splitlines()
    assert len(lines) == 8
    assert [line for line in lines if re.search(r"&&|;|\|", line)] == [], "one command each"

    commands = ours.replace("qemu:///system", host.unix_uri)
    (tmp_path / "configdrive-fleet").mkdir()
    (tmp_path / "configdrive-fleet" / ".venv").symlink_to(sys.prefix)
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "LIBVIRT_DEFAULT_URI": host.unix_uri,
    }
    done = subprocess.run(
        [*machine, f"ip link set lo up\n{commands}\nvirsh domblklist web"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "attach=inserted" in done.stdout
    (image,) = pool.rglob("*.iso")
    assert str(image) in done.stdout
    assert b"echo hello >/root/hello" in image.read_bytes()
