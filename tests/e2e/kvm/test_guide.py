"""What the README and `docs/how-to/kvm.md` show for a first VM, typed at a terminal, with a real libvirtd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from configdrive.model import HostName, HypervisorName, InstanceName, Vm, VmUuid
from docs.blocks import PAGES, ROOT, commands_for
from rigs.fleet import Fleet
from rigs.libvirt import LibvirtHost
from rigs.terminal import PASSWORD, furnish, type_in
from tests.support import require_rig
from workers.hypervisors.kvm.image_folder import shard_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("libvirt")

GUIDE: Final = PAGES / "how-to" / "kvm.md"
WEB: Final = Vm(
    VmUuid("6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10"), InstanceName("web"), HypervisorName("kvm"), HostName("kvm-01")
)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LibvirtHost]:
    from tests.integration.kvm.cloud import Cloud  # noqa: PLC0415  # needs libvirt-python

    with require_rig(), LibvirtHost(tmp_path / "libvirt", "kvm-01") as host:
        cloud = Cloud(host, "primary", tmp_path / "pool", "kvm-01")
        cloud.define(vm=WEB)
        yield host
        cloud.clean()
        cloud.close()


def test_a_vm_gets_its_drive_and_loses_it_again_as_the_guide_says(host: LibvirtHost, tmp_path: Path) -> None:
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
    assert list((tmp_path / "pool").rglob("*.iso")) == []


def test_the_readme_shows_the_same() -> None:
    assert commands_for(__file__, ROOT / "README.md") == commands_for(__file__, GUIDE)
