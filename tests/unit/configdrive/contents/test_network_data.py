"""`network_data.json`: what the guest is told of its NICs. That cloud-init takes it, its own code has shown."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configdrive.contents.network_data import network_data
from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import Address, Nic, Route

ANYWHERE = "0.0.0.0"  # noqa: S104 - a destination
FIRST, SECOND = "02:00:5e:10:00:01", "02:00:5e:10:00:02"
V4 = Address(4, "10.1.1.14", 24, "10.1.1.1")
V6 = Address(6, "2001:db8::14", 64, "2001:db8::1")


@st.composite
def addresses(draw: st.DrawFn) -> Address:
    family: Literal[4, 6] = 4 if draw(st.booleans()) else 6
    ips = st.ip_addresses(v=family).map(str)
    networks = st.ip_addresses(v=family, network="10.0.0.0/8" if family == 4 else "2001:db8::/32").map(ip_network)
    routes = st.builds(lambda to, via: Route(str(to.network_address), to.prefixlen, via), networks, ips)
    some_routes = draw(st.lists(routes, max_size=2).map(tuple))
    if draw(st.booleans()):
        return Address(family, routes=some_routes)
    prefix = draw(st.integers(0, 32 if family == 4 else 128))
    return Address(family, draw(ips), prefix, draw(st.none() | ips), some_routes)


@st.composite
def nic_lists(draw: st.DrawFn) -> tuple[Nic, ...]:
    numbers = draw(st.lists(st.integers(0, 255), unique=True, max_size=4))
    default = draw(st.none() | st.integers(0, 3))
    servers = st.lists(st.ip_addresses().map(str), max_size=3).map(tuple)
    return tuple(
        Nic(
            f"02:00:5E:10:00:{number:02X}",
            draw(st.lists(addresses(), max_size=3).map(tuple)),
            draw(st.integers(68, 65535)),
            index == default,
            draw(servers),
        )
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
    assert known(Nic(FIRST, (V4, V6), default=True, dns=("192.0.2.53", "2001:db8::53"))) == {
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


@pytest.mark.parametrize("nics", [(), (Nic(FIRST),), (Nic(FIRST, dns=("192.0.2.53",)), Nic(SECOND, mtu=9000))])
def test_nothing_is_said_when_no_address_is_known(nics: tuple[Nic, ...]) -> None:
    """An empty document would keep cloud-init from its DHCP fallback."""
    assert network_data(nics) is None


def test_a_nic_without_address_is_still_a_link_beside_one_with() -> None:
    document = known(Nic(FIRST, (V4,), default=True), Nic(SECOND, mtu=9000))
    assert [link["mtu"] for link in document["links"]] == [1500, 9000]
    assert [network["link"] for network in document["networks"]] == ["nic-02005e100001"]


def test_dhcp_says_so_for_each_family() -> None:
    document = known(Nic(FIRST, (Address(4), Address(6))))
    assert [network["type"] for network in document["networks"]] == ["ipv4_dhcp", "ipv6_dhcp"]
    assert all("ip_address" not in network for network in document["networks"])


def test_only_the_default_nic_has_a_default_route() -> None:
    other = Address(4, "10.2.1.14", 24, "10.2.1.1", (Route("10.9.0.0", 16, "10.2.1.9"),))
    networks = known(Nic(FIRST, (other,)), Nic(SECOND, (V4,), default=True))["networks"]
    assert networks[0]["routes"] == [{"network": "10.9.0.0", "netmask": "255.255.0.0", "gateway": "10.2.1.9"}]
    assert networks[1]["routes"] == [{"network": ANYWHERE, "netmask": ANYWHERE, "gateway": "10.1.1.1"}]


def test_a_vms_only_nic_is_its_default_nic() -> None:
    assert known(Nic(FIRST, (V4,)))["networks"][0]["routes"][0]["gateway"] == "10.1.1.1"


def test_of_two_nics_none_is_guessed_to_be_the_default_one() -> None:
    networks = known(Nic(FIRST, (V4,)), Nic(SECOND, (V4,)))["networks"]
    assert [network["routes"] for network in networks] == [[], []]


def test_the_default_nics_name_servers_come_first_and_each_once() -> None:
    nics = (
        Nic(FIRST, (Address(4),), dns=("192.0.2.1", "192.0.2.2")),
        Nic(SECOND, (Address(4),), default=True, dns=("192.0.2.2",)),
    )
    assert [service["address"] for service in known(*nics)["services"]] == ["192.0.2.2", "192.0.2.1"]


def test_a_links_id_stays_when_another_nic_goes() -> None:
    both = known(Nic(FIRST, (V4,)), Nic(SECOND, (V6,), default=True))
    alone = known(Nic(SECOND, (V6,), default=True))
    assert both["links"][1:] == alone["links"]
    assert both["networks"][1:] == alone["networks"]


@pytest.mark.parametrize(
    ("nic", "field"),
    [
        (Nic("02:00:5e:10:00"), "nics[0].mac"),
        (Nic("i-2-14-VM"), "nics[0].mac"),
        (Nic(FIRST, mtu=67), "nics[0].mtu"),
        (Nic(FIRST, mtu=65536), "nics[0].mtu"),
        (Nic(FIRST, dns=("192.0.2.1", "dns.example")), "nics[0].dns[1]"),
        (Nic(FIRST, dns=("fe80::1%<eth0>",)), "nics[0].dns[0]"),
        (Nic(FIRST, (Address(5, "10.0.0.1", 8),)), "nics[0].addresses[0].family"),
        (Nic(FIRST, (Address(4, FIRST, 24),)), "nics[0].addresses[0].address"),
        (Nic(FIRST, (Address(4, "2001:db8::1", 24),)), "nics[0].addresses[0].address"),
        (Nic(FIRST, (V4, Address(4, "10.0.0.1"))), "nics[0].addresses[1].prefix"),
        (Nic(FIRST, (Address(4, "10.0.0.1", 33),)), "nics[0].addresses[0].prefix"),
        (Nic(FIRST, (Address(6, "::1", 129),)), "nics[0].addresses[0].prefix"),
        (Nic(FIRST, (Address(4, "10.0.0.1", 8, "2001:db8::1"),)), "nics[0].addresses[0].gateway"),
        (Nic(FIRST, (Address(4, gateway="10.0.0.1"),)), "nics[0].addresses[0].gateway"),
        (Nic(FIRST, (Address(4, routes=(Route("10.0.0.1", 8, "10.0.0.1"),)),)), "nics[0].addresses[0].routes[0]"),
        (Nic(FIRST, (Address(4, routes=(Route("10.0.0.0", 40, "10.0.0.1"),)),)), "nics[0].addresses[0].routes[0]"),
        (Nic(FIRST, (Address(4, routes=(Route("::", 0, "10.0.0.1"),)),)), "nics[0].addresses[0].routes[0].network"),
        (Nic(FIRST, (Address(4, routes=(Route("10.0.0.0", 8, "::1"),)),)), "nics[0].addresses[0].routes[0].gateway"),
    ],
)
def test_what_contradicts_itself_is_refused_by_its_field(nic: Nic, field: str) -> None:
    assert refused(nic).startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("nics", "field"),
    [
        ((Nic(FIRST), Nic(FIRST.upper())), "nics[1].mac"),
        ((Nic(FIRST, default=True), Nic(SECOND, default=True)), "nics"),
        (
            (Nic(FIRST, (V4,), default=True), Nic(SECOND, (Address(4, routes=(Route(ANYWHERE, 0, "10.0.0.1"),)),))),
            "nics[1].addresses[0].routes[0]",
        ),
    ],
    ids=["same address", "two defaults", "a second default route"],
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
        (nic.mac.lower(), nic.mtu) for nic in nics
    ]
    wanted = [(index, address) for index, nic in enumerate(nics) for address in nic.addresses]
    assert len(document["networks"]) == len(wanted)
    assert len({network["id"] for network in document["networks"]}) == len(wanted)
    for network, (index, address) in zip(document["networks"], wanted, strict=True):
        assert network["link"] == document["links"][index]["id"]
        assert network["type"].startswith(f"ipv{address.family}")
        if address.address is not None:
            netmask_length = prefix_length(network["netmask"])
            assert ip_interface(f"{network['ip_address']}/{netmask_length}") == ip_interface(
                f"{address.address}/{address.prefix}",
            )
        default_routes = [route for route in network["routes"] if prefix_length(route["netmask"]) == 0]
        expected = address.gateway is not None and (nics[index].default or len(nics) == 1)
        assert [route["gateway"] for route in default_routes] == ([address.gateway] if expected else [])
    assert {service["address"] for service in document["services"]} == {server for nic in nics for server in nic.dns}


def prefix_length(netmask: str) -> int:
    return sum(byte.bit_count() for byte in ip_address(netmask).packed)
