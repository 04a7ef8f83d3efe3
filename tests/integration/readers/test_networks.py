"""cloud-init's own renderers write what our network descriptions say: the matrix, judged by rules for all of them."""

from __future__ import annotations

import json
import subprocess
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from configdrive.contents.network_data import network_data
from configdrive.contents.nocloud import network_config
from configdrive.contents.remarks import remarks
from configdrive.errors import PermanentError
from configdrive.model import Address, DriveSettings, Nic, VmData
from docs.generated.networks import DNS, FAMILIES, MTU, Cell, Known, addresses, cells
from tests.drives import VM
from tests.integration.readers import foreign
from tests.integration.readers.networks import Rendered, read
from tests.support import require_rig

if TYPE_CHECKING:
    from collections.abc import Sequence

INSIDE: Final = Path(__file__).parent / "cloud_init_networks.py"
VERSIONS: Final = ("22.4", "25.1")


def packages(version: str) -> str:
    """Return Python's path to one cloud-init."""
    with require_rig():
        roots = [foreign.cloud_init()]
        if version != VERSIONS[0]:
            roots.insert(0, foreign.newer_cloud_init())
    return ":".join(str(root / "usr/lib/python3/dist-packages") for root in roots)


def render(version: str, documents: Sequence[object]) -> list[dict[str, Any]]:
    """Let one cloud-init render all the documents, in one process."""
    done = subprocess.run(
        ["/usr/bin/python3", INSIDE],
        input=json.dumps(documents),
        env={"PYTHONPATH": packages(version), "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


FORMS: Final = {"network_data.json": network_data, "network-config": network_config}


@pytest.fixture(scope="module", params=FORMS)
def documents(request: pytest.FixtureRequest) -> dict[Cell, Any]:
    """What each cell becomes in one of the forms: a document, `None`, or the refusal."""
    found: dict[Cell, Any] = {}
    for cell in cells():
        try:
            found[cell] = FORMS[request.param](cell.nics)
        except PermanentError as error:
            found[cell] = error
    return found


def test_nothing_is_written_of_nics_of_which_nothing_is_known_and_a_choice_that_nobody_can_make_is_refused(
    documents: dict[Cell, Any],
) -> None:
    for cell, document in documents.items():
        assert (document is None) == (set(cell.known) == {Known.UNKNOWN}), cell
        assert isinstance(document, PermanentError) == cell.refused, cell
        if isinstance(document, PermanentError):
            assert document.detail.startswith("nics: several have an IPv")
            assert document.remedy


@pytest.mark.parametrize("version", VERSIONS)
def test_every_renderer_of_cloud_init_writes_what_each_mixture_of_nics_needs(
    documents: dict[Cell, Any], version: str
) -> None:
    written = {cell: document for cell, document in documents.items() if isinstance(document, dict)}
    for cell, answer in zip(written, render(version, list(written.values())), strict=True):
        assert "error" not in answer, (cell, answer)
        for renderer, files in answer.items():
            nics, servers = read(renderer, files, len(cell.known))
            where = f"{renderer} {cell}\n{files}"
            judge(cell, nics, where)
            if any(nic.dns for nic in nics) or servers:
                assert DNS in servers.union(*(nic.dns for nic in nics)), where
            elif not set(FAMILIES.values()) & set(cell.known):
                said = remarks(VM, VmData(nics=cell.nics), DriveSettings(), has_password=False)
                assert any("netplan takes name servers from DHCP alone" in sentence for sentence in said), where
            else:
                pytest.fail(f"no name server: {where}")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_gateway_outside_of_the_network_is_said_to_be_on_link_by_a_newer_cloud_init(version: str) -> None:
    address = Address(ip_interface("10.1.1.5/32"), gateway=ip_address("192.0.2.1"), on_link=True)
    nic = Nic(mac="02:00:5e:10:00:00", addresses=(address,))
    is_newer = version != VERSIONS[0]
    for files in render(version, [network_data((nic,)), network_config((nic,))]):
        assert ("on-link: true" in files["netplan"]["50-cloud-init.yaml"]) == is_newer
        assert ("GatewayOnLink=yes" in files["networkd"]["eth0"]) == is_newer
        for renderer, texts in files.items():
            assert "192.0.2.1" in "".join(texts.values()), renderer


def judge(cell: Cell, nics: list[Rendered], where: str) -> None:
    """Hold the rules against a rendering."""
    for index, (known, nic) in enumerate(zip(cell.known, nics, strict=True)):
        own = {str(address.cidr) for address in addresses(known, index) or () if address.cidr is not None}
        assert nic.addresses == own, where
        assert nic.asks4 == (known is Known.DHCP4 or index == cell.asks), where
        assert nic.listens or known is not Known.SLAAC, where
        assert nic.mtu == (MTU if cell.mtu and index == 0 else None), where
    for family, known in FAMILIES.items():
        gateways = {
            str(address.gateway): index for index in cell.static(known) for address in addresses(known, index) or ()
        }
        used = [route for nic in nics for route in nic.defaults if route in gateways]
        assert len(used) == (1 if gateways and not cell.by_itself(family) else 0), where
        if used and cell.default in gateways.values():
            assert gateways[used[0]] == cell.default, where
    assert sum(len(nic.defaults) for nic in nics) <= len(FAMILIES), where
