"""What stands of a NIC's network on the drive: the table of docs/how-to/cloudstack.md."""

from typing import Any

import pytest

from configdrive.contract.events import parse
from rigs.cloudstack import NETWORK, machine, network
from tests.unit.workers.cloudstack.cloud import Cloud
from tests.unit.workers.cloudstack.recorded import UUID, state
from workers.cloudstack.directory import content_of, record_of

FOUR = {"ipaddress": "10.1.1.19", "netmask": "255.255.255.0", "gateway": "10.1.1.1"}
SIX = {"ip6address": "2001:db8::7", "ip6cidr": "2001:db8::/64", "ip6gateway": "2001:db8::1"}
SECOND = {"secondaryip": [{"id": "x", "ipaddress": "10.1.1.77"}]}
FIXED = {"cidr": "10.1.1.19/24", "gateway": "10.1.1.1"}
FIXED_SIX = {"cidr": "2001:db8::7/64", "gateway": "2001:db8::1"}
KNOWN = {"mtu": 1450, "search": ["cs1.example"]}


@pytest.mark.parametrize(
    ("kind", "dhcp", "addresses", "expected"),
    [
        ("Isolated", "VirtualRouter", FOUR, {"addresses": [{"dhcp": 4}]}),
        ("Isolated", "VpcVirtualRouter", FOUR | SIX, {"addresses": [{"dhcp": 4}, {"auto": "slaac"}]}),
        ("Shared", "VirtualRouter", FOUR | SIX | SECOND, {"addresses": [{"dhcp": 4}, {"dhcp": 6}]}),
        ("Shared", "VirtualRouter", SIX, {"addresses": [{"dhcp": 6}]}),
        ("Shared", "ConfigDrive", FOUR | SECOND, KNOWN | {"addresses": [FIXED]}),
        ("Shared", None, FOUR | SIX, KNOWN | {"addresses": [FIXED, FIXED_SIX]}),
        ("L2", None, {}, {}),
    ],
)
def test_a_nic_is_written_as_cloudstack_means_it(
    kind: str, dhcp: str | None, addresses: dict[str, Any], expected: dict[str, Any]
) -> None:
    providers = {"UserData": "ConfigDrive"} | ({} if dhcp is None else {"Dhcp": dhcp})
    services = [{"name": name, "provider": [{"name": one}]} for name, one in providers.items()]
    shown = network(type=kind, service=services, privatemtu=1450, publicmtu=1400, networkdomain="cs1.example")
    nic = {"networkid": NETWORK, "macaddress": "02:00:0f:71:00:01", "isdefault": True, **addresses}
    cloud = Cloud()
    cloud.directory.vm = record_of(UUID, machine(UUID, hypervisor="KVM", nic=[nic]))
    cloud.directory.data = content_of({NETWORK: shown}, {"dns1": "192.0.2.53"}, None)
    cloud.take(state("Starting", "Running", 1))
    (written,) = cloud.guest().model_dump(mode="json", exclude_defaults=True)["nics"]
    assert parse(cloud.events[0].model_dump_json(exclude_none=True)).data.left_out == ()  # type: ignore[union-attr]
    said = {"mac": "02:00:0f:71:00:01", "default": True, "dns": ["192.0.2.53"]}
    assert written == said | expected
