"""`network_data.json`: what the guest is to know of its NICs. That cloud-init takes it, its own code has shown."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from configdrive.contents.network_data import network_data
from configdrive.drive_data import Address, Bond, BondMode, HashPolicy, Ipv6Auto, Nic, Route, Vlan
from configdrive.errors import PermanentCode
from tests.support import error_of

ANYWHERE = "0.0.0.0"  # noqa: S104 - a destination
FIRST, SECOND, THIRD = "02:00:5e:10:00:01", "02:00:5e:10:00:02", "02:00:5e:10:00:03"
IP = ip_address
V4 = Address(ip_interface("10.1.1.14/24"), gateway=IP("10.1.1.1"))
V6 = Address(ip_interface("2001:db8::14/64"), gateway=IP("2001:db8::1"))
OTHER4 = Address(ip_interface("10.2.1.14/24"), gateway=IP("10.2.1.1"))
TWO = Bond((FIRST, SECOND), BondMode.ACTIVE_BACKUP)
DHCP4, DHCP6 = Address(dhcp=4), Address(dhcp=6)


def nic(mac: str = FIRST, *addresses: Address, dns: tuple[str, ...] = (), **more: Any) -> Nic:  # noqa: ANN401
    return Nic(mac, dns=tuple(map(IP, dns)), addresses=addresses, **more)


def route(to: str, via: str) -> Route:
    return Route(ip_network(to), IP(via))


def through(*routes: Route) -> Address:
    return replace(V4, gateway=None, routes=routes)


def known(*nics: Nic) -> dict[str, Any]:
    document = network_data(nics)
    assert document is not None
    return document


def refused(*nics: Nic) -> str:
    caught = error_of(network_data, nics)
    assert caught.code is PermanentCode.INVALID_CONTENT
    assert caught.remedy
    return caught.detail


def test_one_nic_with_both_families() -> None:
    assert known(nic(FIRST, V4, V6, default=True, dns=("192.0.2.53", "2001:db8::53"))) == {
        "links": [{"id": "nic-02005e100001", "type": "phy", "ethernet_mac_address": FIRST}],
        "networks": [
            {
                "id": "nic-02005e100001-0",
                "link": "nic-02005e100001",
                "type": "ipv4",
                "ip_address": "10.1.1.14",
                "netmask": "255.255.255.0",
                "services": [{"type": "dns", "address": "192.0.2.53"}],
                "dns_nameservers": ["192.0.2.53", "2001:db8::53"],
                "routes": [{"network": ANYWHERE, "netmask": ANYWHERE, "gateway": "10.1.1.1"}],
            },
            {
                "id": "nic-02005e100001-1",
                "link": "nic-02005e100001",
                "type": "ipv6",
                "ip_address": "2001:db8::14",
                "netmask": "ffff:ffff:ffff:ffff::",
                "services": [{"type": "dns", "address": "2001:db8::53"}],
                "routes": [{"network": "::", "netmask": "::", "gateway": "2001:db8::1"}],
            },
        ],
        "services": [{"type": "dns", "address": "192.0.2.53"}, {"type": "dns", "address": "2001:db8::53"}],
    }


def test_a_nic_without_address_on_purpose_is_only_a_link_and_an_mtu_stands_there_if_it_is_given() -> None:
    document = known(nic(FIRST, V4, default=True), nic(SECOND, mtu=9000))
    assert [link.get("mtu") for link in document["links"]] == [None, 9000]
    assert [network["link"] for network in document["networks"]] == ["nic-02005e100001"]
    assert known(nic())["networks"] == []


def test_search_domains_and_router_advertisements() -> None:
    first = nic(FIRST, V4, default=True, dns=("192.0.2.53",), search=("example.com",))
    second = nic(SECOND, Address(auto=Ipv6Auto.SLAAC), search=("example.net",))
    document = known(first, second, nic(THIRD, Address(auto=Ipv6Auto.STATELESS)))
    assert [network["type"] for network in document["networks"]] == ["ipv4", "ipv6_slaac", "ipv6_dhcpv6-stateless"]
    assert document["networks"][0]["dns_search"] == ["example.com"]
    assert document["services"] == [{"type": "dns", "address": "192.0.2.53", "search": ["example.com", "example.net"]}]


def test_a_gateway_outside_of_the_network_is_no_route_of_it() -> None:
    """With `gateway`, cloud-init makes the route on-link, where it can."""
    address = Address(ip_interface("198.51.100.7/32"), gateway=IP("203.0.113.1"), on_link=True)
    [network] = known(nic(FIRST, address))["networks"]
    assert (network["gateway"], network["routes"]) == ("203.0.113.1", [])


def test_a_link_local_gateway_is_always_a_neighbour() -> None:
    [network] = known(nic(FIRST, replace(V6, gateway=IP("fe80::1"))))["networks"]
    assert network["routes"] == [{"network": "::", "netmask": "::", "gateway": "fe80::1"}]


def test_a_bond_brings_its_nics_and_vlans_stand_behind_what_they_are_on() -> None:
    both = Bond((FIRST, SECOND), BondMode.LACP, miimon=50, xmit_hash_policy=HashPolicy.LAYER3_4)
    document = known(
        nic(FIRST, V4, default=True, vlan=Vlan(FIRST, 42)),
        nic(FIRST, bond=both, mtu=9000),
        nic(THIRD, vlan=Vlan(FIRST, 7)),
    )
    bond = {
        "id": "bond-02005e100001",
        "type": "bond",
        "ethernet_mac_address": FIRST,
        "bond_links": ["nic-02005e100001", "nic-02005e100002"],
        "bond_mode": "802.3ad",
        "bond_miimon": 50,
        "bond_xmit_hash_policy": "layer3+4",
        "bond_xmit-hash-policy": "layer3+4",
        "mtu": 9000,
    }
    vlans = [
        {
            "id": f"vlan-02005e100001-{number}",
            "type": "vlan",
            "vlan_link": "bond-02005e100001",
            "vlan_id": number,
            "vlan_mac_address": mac,
        }
        for number, mac in ((42, FIRST), (7, THIRD))
    ]
    nics = [
        {"id": f"nic-{mac.replace(':', '')}", "type": "phy", "ethernet_mac_address": mac} for mac in (FIRST, SECOND)
    ]
    assert document["links"] == [*nics, bond, *vlans]
    assert [(network["link"], network["routes"]) for network in document["networks"]] == [
        ("vlan-02005e100001-42", [{"network": ANYWHERE, "netmask": ANYWHERE, "gateway": "10.1.1.1"}])
    ]


def test_a_bond_without_a_hash_policy_names_none_and_a_default_route_may_stand_behind_another() -> None:
    two = through(route("10.9.0.0/16", "10.1.1.9"), route("0.0.0.0/0", "10.1.1.2"))
    document = known(nic(FIRST, two, bond=TWO))
    assert not [key for link in document["links"] for key in link if "hash" in key]
    assert [one["gateway"] for one in document["networks"][0]["routes"]] == ["10.1.1.2", "10.1.1.9"]


def test_only_the_default_nic_has_a_default_route() -> None:
    other = replace(OTHER4, routes=(route("10.9.0.0/16", "10.2.1.9"),))
    networks = known(nic(FIRST, other), nic(SECOND, V4, default=True))["networks"]
    assert networks[0]["routes"] == [{"network": "10.9.0.0", "netmask": "255.255.0.0", "gateway": "10.2.1.9"}]
    assert networks[1]["routes"] == [{"network": ANYWHERE, "netmask": ANYWHERE, "gateway": "10.1.1.1"}]


def test_the_default_nics_name_servers_come_first_and_each_once() -> None:
    nics = (
        nic(FIRST, DHCP4, dns=("192.0.2.1", "192.0.2.2")),
        nic(SECOND, DHCP4, default=True, dns=("192.0.2.2",)),
    )
    assert [service["address"] for service in known(*nics)["services"]] == ["192.0.2.2", "192.0.2.1"]


def test_a_links_id_stays_when_another_nic_goes() -> None:
    both = known(nic(FIRST, V4), nic(SECOND, V6, default=True))
    alone = known(nic(SECOND, V6, default=True))
    assert both["links"][1:] == alone["links"]
    assert both["networks"][1:] == alone["networks"]


@pytest.mark.parametrize(
    ("nics", "field"),
    [
        ((nic(), nic()), "nics[1].mac"),
        ((nic(default=True), nic(SECOND, default=True)), "nics"),
        ((nic(FIRST, V4, Address()),), "nics[0].addresses[1]"),
        ((nic(FIRST, replace(V4, dhcp=4)),), "nics[0].addresses[0]"),
        ((nic(FIRST, Address(dhcp=5)),), "nics[0].addresses[0].dhcp"),
        ((nic(FIRST, replace(DHCP4, gateway=IP("10.0.0.1"))),), "nics[0].addresses[0].gateway"),
        ((nic(FIRST, replace(V4, gateway=IP("::1"))),), "nics[0].addresses[0]"),
        ((nic(FIRST, through(route("::/0", "10.1.1.2"))),), "nics[0].addresses[0]"),
        ((nic(FIRST, through(route("10.0.0.0/8", "::1"))),), "nics[0].addresses[0]"),
        (
            (nic(FIRST, V6, default=True), nic(SECOND, through(route("0.0.0.0/0", "10.1.1.2")))),
            "nics[1].addresses[0].routes[0]",
        ),
        ((nic(FIRST, V4), nic(SECOND, OTHER4)), "nics"),
        ((nic(FIRST, V6, Address(auto=Ipv6Auto.SLAAC)),), "nics[0].addresses"),
        ((nic(FIRST, Address(dhcp=6, auto=Ipv6Auto.SLAAC)),), "nics[0].addresses[0]"),
        ((nic(FIRST, V6, mtu=1279),), "nics[0].mtu"),
        ((nic(FIRST, V4), nic(SECOND, replace(V4, gateway=None))), "nics[1].addresses[0].cidr"),
        (
            (nic(FIRST, V4, replace(V4, cidr=ip_interface("10.1.1.15/24"), gateway=IP("10.1.1.2"))),),
            "nics[0].addresses",
        ),
        ((nic(FIRST, replace(V4, routes=(route("0.0.0.0/0", "10.1.1.1"),))),), "nics[0].addresses"),
        ((nic(FIRST, replace(DHCP4, routes=(route("10.9.0.0/16", "10.1.1.9"),))),), "nics[0].addresses[0].routes"),
        ((nic(FIRST, through(route("10.9.0.0/16", "10.2.1.9"))),), "nics[0].addresses[0].routes[0].via"),
        ((nic(FIRST, through(route("10.9.0.0/16", "10.1.1.14"))),), "nics[0].addresses[0].routes[0].via"),
        ((nic(FIRST, bond=TWO, vlan=Vlan(FIRST, 7)),), "nics[0]"),
        ((nic(FIRST, bond=Bond((FIRST, FIRST), BondMode.LACP)),), "nics[0].bond.links"),
        ((nic(FIRST, bond=TWO), nic(SECOND)), "nics[1].mac"),
        ((nic(FIRST, bond=TWO), nic(THIRD, bond=Bond((SECOND,), BondMode.LACP))), "nics[1].bond.links"),
        ((nic(FIRST, vlan=Vlan(FIRST, 7)),), "nics[0].vlan.link"),
        ((nic(FIRST, bond=TWO), nic(FIRST, vlan=Vlan(SECOND, 7))), "nics[1].vlan.link"),
        ((nic(), nic(FIRST, vlan=Vlan(FIRST, 7)), nic(SECOND, vlan=Vlan(FIRST, 7))), "nics[2].vlan"),
        ((nic(), nic(SECOND), nic(SECOND, vlan=Vlan(FIRST, 7))), "nics[2].mac"),
        ((nic(mtu=1500), nic(FIRST, vlan=Vlan(FIRST, 7), mtu=1501)), "nics[1].mtu"),
        *(
            ((nic(FIRST, Address(ip_interface(cidr))),), "nics[0].addresses[0].cidr")
            for cidr in (
                "10.1.1.0/24",
                "10.1.1.255/24",
                "224.0.0.5/24",
                "0.0.0.0/8",
                "127.0.0.1/8",
                "10.1.1.1/0",
                "255.255.255.255/32",
                "2001:db8::/64",
                "ff02::1/64",
                "::1/128",
                "::/64",
            )
        ),
        *(
            ((nic(FIRST, replace(V4, gateway=IP(gateway))),), "nics[0].addresses[0].gateway")
            for gateway in ("10.1.1.14", "10.1.1.0", "10.1.1.255", "224.0.0.1", "10.2.1.1")
        ),
    ],
)
def test_nics_that_contradict_each_other_are_refused(nics: tuple[Nic, ...], field: str) -> None:
    assert refused(*nics).startswith(f"{field}: ")
