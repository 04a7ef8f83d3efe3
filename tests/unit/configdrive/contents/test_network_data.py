"""`network_data.json`: what the guest is to know of its NICs. That cloud-init takes it, its own code has shown."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configdrive.contents.network_data import network_data
from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import Address, Nic, Route

ANYWHERE = "0.0.0.0"  # noqa: S104 - a destination
FIRST, SECOND = "02:00:5e:10:00:01", "02:00:5e:10:00:02"
IP = ip_address
V4 = Address(ip_interface("10.1.1.14/24"), gateway=IP("10.1.1.1"))
V6 = Address(ip_interface("2001:db8::14/64"), gateway=IP("2001:db8::1"))
DHCP4, DHCP6 = Address(dhcp=4), Address(dhcp=6)


def nic(mac: str = FIRST, *addresses: Address, dns: tuple[str, ...] = (), **more: Any) -> Nic:  # noqa: ANN401
    return Nic(mac, dns=tuple(map(IP, dns)), addresses=addresses, **more)


def route(to: str, via: str) -> Route:
    return Route(ip_network(to), IP(via))


def through(*routes: Route) -> Address:
    return Address(dhcp=4, routes=routes)


@st.composite
def addresses(draw: st.DrawFn) -> Address:
    family: Literal[4, 6] = 4 if draw(st.booleans()) else 6
    ips: st.SearchStrategy[IPv4Address | IPv6Address] = st.ip_addresses(v=family)
    networks = st.ip_addresses(v=family, network="10.0.0.0/8" if family == 4 else "2001:db8::/32").map(ip_network)
    routes = draw(st.lists(st.builds(Route, networks, ips), max_size=2).map(tuple))
    if draw(st.booleans()):
        return Address(dhcp=family, routes=routes)
    prefix = draw(st.integers(0, 32 if family == 4 else 128))
    return Address(ip_interface(f"{draw(ips)}/{prefix}"), gateway=draw(st.none() | ips), routes=routes)


@st.composite
def nic_lists(draw: st.DrawFn) -> tuple[Nic, ...]:
    numbers = draw(st.lists(st.integers(0, 255), unique=True, max_size=4))
    default = draw(st.none() | st.integers(0, 3))
    servers = st.lists(st.ip_addresses(), max_size=3).map(tuple)
    found = st.lists(addresses(), max_size=3).map(tuple)
    return tuple(
        Nic(f"02:00:5e:10:00:{number:02x}", draw(st.integers(68, 65535)), index == default, draw(servers), draw(found))
        for index, number in enumerate(numbers)
    )


def known(*nics: Nic) -> dict[str, Any]:
    document = network_data(nics)
    assert document is not None
    return document


def refused(*nics: Nic) -> str:
    with pytest.raises(PermanentError) as caught:
        network_data(nics)
    assert caught.value.code is PermanentCode.INVALID_CONTENT
    assert caught.value.remedy
    return caught.value.detail


def test_one_nic_with_both_families() -> None:
    assert known(nic(FIRST, V4, V6, default=True, dns=("192.0.2.53", "2001:db8::53"))) == {
        "links": [{"id": "nic-02005e100001", "type": "phy", "ethernet_mac_address": FIRST, "mtu": 1500}],
        "networks": [
            {
                "id": "nic-02005e100001-0",
                "link": "nic-02005e100001",
                "type": "ipv4",
                "ip_address": "10.1.1.14",
                "netmask": "255.255.255.0",
                "services": [{"type": "dns", "address": "192.0.2.53"}],
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


@pytest.mark.parametrize("nics", [(), (nic(),), (nic(dns=("192.0.2.53",)), nic(SECOND, mtu=9000))])
def test_nothing_is_said_when_no_address_is_known(nics: tuple[Nic, ...]) -> None:
    """An empty document would keep cloud-init from its DHCP fallback."""
    assert network_data(nics) is None


def test_a_nic_without_address_is_still_a_link_beside_one_with() -> None:
    document = known(nic(FIRST, V4, default=True), nic(SECOND, mtu=9000))
    assert [link["mtu"] for link in document["links"]] == [1500, 9000]
    assert [network["link"] for network in document["networks"]] == ["nic-02005e100001"]


def test_dhcp_says_so_for_each_family() -> None:
    document = known(nic(FIRST, DHCP4, DHCP6))
    assert [network["type"] for network in document["networks"]] == ["ipv4_dhcp", "ipv6_dhcp"]
    assert all("ip_address" not in network for network in document["networks"])


def test_only_the_default_nic_has_a_default_route() -> None:
    other = replace(V4, gateway=IP("10.2.1.1"), routes=(route("10.9.0.0/16", "10.2.1.9"),))
    networks = known(nic(FIRST, other), nic(SECOND, V4, default=True))["networks"]
    assert networks[0]["routes"] == [{"network": "10.9.0.0", "netmask": "255.255.0.0", "gateway": "10.2.1.9"}]
    assert networks[1]["routes"] == [{"network": ANYWHERE, "netmask": ANYWHERE, "gateway": "10.1.1.1"}]


def test_a_vms_only_nic_is_its_default_nic() -> None:
    assert known(nic(FIRST, V4))["networks"][0]["routes"][0]["gateway"] == "10.1.1.1"


def test_of_two_nics_none_is_guessed_to_be_the_default_one() -> None:
    networks = known(nic(FIRST, V4), nic(SECOND, V4))["networks"]
    assert [network["routes"] for network in networks] == [[], []]


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
        ((nic(FIRST, through(route("::/0", "10.0.0.1"))),), "nics[0].addresses[0]"),
        ((nic(FIRST, through(route("10.0.0.0/8", "::1"))),), "nics[0].addresses[0]"),
        (
            (nic(FIRST, V4, default=True), nic(SECOND, through(route("0.0.0.0/0", "10.0.0.1")))),
            "nics[1].addresses[0].routes[0]",
        ),
    ],
)
def test_nics_that_contradict_each_other_are_refused(nics: tuple[Nic, ...], field: str) -> None:
    assert refused(*nics).startswith(f"{field}: ")


@given(nic_lists())
def test_any_valid_network_reads_back(nics: tuple[Nic, ...]) -> None:
    document = network_data(nics)
    if not any(nic.addresses for nic in nics):
        assert document is None
        return
    assert document is not None
    assert [(link["ethernet_mac_address"], link["mtu"]) for link in document["links"]] == [
        (nic.mac, nic.mtu) for nic in nics
    ]
    wanted = [(index, address) for index, nic in enumerate(nics) for address in nic.addresses]
    assert len(document["networks"]) == len(wanted)
    assert len({network["id"] for network in document["networks"]}) == len(wanted)
    for network, (index, address) in zip(document["networks"], wanted, strict=True):
        assert network["link"] == document["links"][index]["id"]
        assert network["type"].startswith(f"ipv{address.family}")
        if address.cidr is not None:
            assert ip_interface(f"{network['ip_address']}/{prefix_length(network['netmask'])}") == address.cidr
        default_routes = [route for route in network["routes"] if prefix_length(route["netmask"]) == 0]
        expected = address.gateway is not None and (nics[index].default or len(nics) == 1)
        assert [route["gateway"] for route in default_routes] == ([str(address.gateway)] if expected else [])
    assert {service["address"] for service in document["services"]} == {
        str(server) for nic in nics for server in nic.dns
    }


def prefix_length(netmask: str) -> int:
    return sum(byte.bit_count() for byte in ip_address(netmask).packed)
