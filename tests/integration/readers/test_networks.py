"""cloud-init's own renderers write what our network descriptions say: the matrix, judged by rules for all of them."""

import json
import re
import subprocess
from collections.abc import Sequence
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
import yaml

from configdrive.contents.network_data import network_data
from configdrive.contents.nocloud import network_config
from configdrive.contents.remarks import remarks
from configdrive.drive_data import Address, Bond, BondMode, HashPolicy, Nic, Route, Vlan, VmData
from configdrive.errors import PermanentError
from configdrive.model import DriveSettings
from docs.generated.networks import DNS, FAMILIES, MTU, Cell, Known, addresses, cells
from tests.drives import VM
from tests.integration.readers import foreign
from tests.integration.readers.networks import Rendered, read
from tests.support import require_rig

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
        timeout=600,
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


NICS: Final = tuple(f"02:00:5e:10:00:0{number}" for number in range(3))
FAR: Final = Address(ip_interface("10.1.1.5/32"), gateway=ip_address("192.0.2.1"), on_link=True)
ROUTED: Final = Address(ip_interface("10.1.1.5/24"), routes=(Route(ip_network("10.9.0.0/16"), ip_address("10.1.1.9")),))
FOUR: Final = Address(ip_interface("10.1.1.14/24"), gateway=ip_address("10.1.1.1"))
SIX: Final = Address(ip_interface("2001:db8::14/64"), gateway=ip_address("2001:db8::1"))
MADE: Final = (
    Nic(NICS[0], addresses=(FOUR,), default=True, vlan=Vlan(NICS[0], 42)),
    Nic(
        NICS[0],
        addresses=(),
        bond=Bond(NICS[:2], BondMode.ACTIVE_BACKUP, miimon=50, xmit_hash_policy=HashPolicy.LAYER2_3),
    ),
    Nic(NICS[2], addresses=()),
    Nic(NICS[2], addresses=(SIX,), mtu=1400, vlan=Vlan(NICS[2], 7)),
)
Rendering: TypeAlias = dict[str, dict[str, str]]
"""What each renderer writes, by file."""


@pytest.fixture(scope="module", params=VERSIONS)
def special(request: pytest.FixtureRequest) -> tuple[str, list[Rendering]]:
    """A version, and what it makes of a far gateway and of a bond with VLANs (in both forms), and of a far router."""
    far, made = (Nic(NICS[0], addresses=(FAR,)),), MADE
    routed = network_data((Nic(NICS[0], addresses=(ROUTED,)),))
    assert routed is not None
    routed["networks"][0]["routes"][0] |= dict.fromkeys(("on-link", "on_link", "onlink", "GatewayOnLink"), True)
    documents = [*(form(nics) for nics in (far, made) for form in FORMS.values()), routed]
    return request.param, render(request.param, documents)


def test_a_gateway_outside_of_the_network_is_said_to_be_on_link_by_a_newer_cloud_init_and_no_other_router_can_be(
    special: tuple[str, list[Rendering]],
) -> None:
    """So the router of another route has to be a neighbour; `test_network_data.py` sees that others are refused."""
    version, renderings = special
    is_newer = version != VERSIONS[0]
    for files in renderings[:2]:
        assert ("on-link: true" in files["netplan"]["50-cloud-init.yaml"]) == is_newer
        assert ("GatewayOnLink=yes" in files["networkd"]["eth0"]) == is_newer
        for renderer, texts in files.items():
            assert "192.0.2.1" in "".join(texts.values()), renderer
    for renderer, texts in renderings[-1].items():
        text = "".join(texts.values())
        assert "10.1.1.9" in text, renderer
        assert not re.search("on.?link", text, re.IGNORECASE), renderer


def test_a_bond_and_vlans_are_made_by_all_renderers_but_networkds_which_makes_no_devices(
    special: tuple[str, list[Rendering]],
) -> None:
    for files in special[1][2:4]:
        netplan = yaml.safe_load(files["netplan"]["50-cloud-init.yaml"])["network"]
        parameters = {"mode": "active-backup", "mii-monitor-interval": 50, "transmit-hash-policy": "layer2+3"}
        bond = {"interfaces": ["eth0", "eth1"], "macaddress": NICS[0], "parameters": parameters}
        assert netplan["bonds"] == {"bond0": bond}
        first, second = netplan["vlans"]["bond0.42"], netplan["vlans"]["eth2.7"]
        assert first.items() >= {"id": 42, "link": "bond0", "addresses": ["10.1.1.14/24"]}.items()
        assert second.items() >= {"id": 7, "link": "eth2", "addresses": ["2001:db8::14/64"], "mtu": 1400}.items()
        assert [one["routes"][0]["via"] for one in (first, second)] == ["10.1.1.1", "2001:db8::1"]

        eni = {
            name: {key.replace("_", "-"): value for key, value in re.findall(r"^    (\S+) (.*)$", text, re.MULTILINE)}
            for name, text in re.findall(r"^iface (\S+) .*\n((?:    .*\n)*)", files["eni"]["interfaces"], re.MULTILINE)
        }
        given = {"bond-mode": "active-backup", "bond-miimon": "50", "bond-xmit-hash-policy": "layer2+3"}
        assert eni["bond0"].items() >= given.items()
        assert [eni[name]["bond-master"] for name in ("eth0", "eth1")] == ["bond0", "bond0"]
        assert eni["bond0.42"].items() >= {"vlan-raw-device": "bond0", "address": "10.1.1.14/24"}.items()
        assert eni["eth2.7"].items() >= {"vlan-raw-device": "eth2", "address": "2001:db8::14/64", "mtu": "1400"}.items()

        ifcfg = {
            name.removeprefix("ifcfg-"): dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
            for name, text in files["sysconfig"].items()
        }
        options = ifcfg["bond0"]["BONDING_OPTS"].strip('"').split()
        assert sorted(options) == ["miimon=50", "mode=active-backup", "xmit_hash_policy=layer2+3"]
        assert [ifcfg[name]["MASTER"] for name in ("eth0", "eth1")] == ["bond0", "bond0"]
        assert ifcfg["bond0.42"].items() >= {"VLAN": "yes", "PHYSDEV": "bond0", "IPADDR": "10.1.1.14"}.items()
        assert ifcfg["eth2.7"].items() >= {"VLAN": "yes", "PHYSDEV": "eth2", "MTU": "1400"}.items()

        assert set(files["networkd"]) == {"eth0", "eth1", "eth2", "bond0", "bond0.42", "eth2.7"}
        assert "NetDev" not in "".join(files["networkd"].values())


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
