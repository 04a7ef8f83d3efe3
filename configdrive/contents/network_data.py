"""`network_data.json`: how the guest shall configure its NICs, in OpenStack's form. Pure.

Source: Nova's schema of the document, and what cloud-init and cloudbase-init read of it. `dns_nameservers`,
`dns_search`, `search` and `gateway` (of one outside of its network) are not in Nova's schema, but cloud-init reads
them. That a NIC with DHCP must not take a default route cannot be said in this form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from configdrive.contents.networks import Link, Subnet, domains_of, links_of, made_in_order, servers_of
from configdrive.drive_data import Ipv6Auto

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from configdrive.drive_data import Ip, Nic, Route

Json: TypeAlias = dict[str, Any]

_TYPES = {Ipv6Auto.SLAAC: "ipv6_slaac", Ipv6Auto.STATELESS: "ipv6_dhcpv6-stateless"}


def network_data(nics: Sequence[Nic]) -> Json | None:
    """Return the document, or `None` when nothing is known of any NIC.

    The file must be left out then: with it cloud-init does not fall back to DHCP (CloudStack issue 14020).

    Raises:
        PermanentError: `INVALID_CONTENT`, naming the field, for values that contradict each other.
    """
    links = links_of(nics)
    if not links:
        return None
    domains = domains_of(links)
    services = [_dns(server) for server in servers_of(links)]
    if services and domains:
        services[0]["search"] = list(domains)
    below = {link.nic.mac: _link_id(link.nic) for link in links if link.nic.vlan is None}
    networks = [_network(link, subnet) for link in links for subnet in link.subnets]
    described = [one for link in made_in_order(links) for one in _links(link.nic, below)]
    return {"links": described, "networks": networks, "services": services}


def _link_id(nic: Nic) -> str:
    """Name a link after its address, so that the name stays when another one comes or goes."""
    if nic.vlan is not None:
        return f"vlan-{_plain(nic.vlan.link)}-{nic.vlan.id}"
    return _nic_id(nic.mac) if nic.bond is None else f"bond-{_plain(nic.mac)}"


def _nic_id(mac: str) -> str:
    return f"nic-{_plain(mac)}"


def _plain(mac: str) -> str:
    return mac.replace(":", "")


def _links(nic: Nic, below: Mapping[str, str]) -> Iterator[Json]:
    """Yield the link, and before a bond those that it is made of.

    Args:
        nic: the link.
        below: the ids of what VLANs may be on, by MAC address.
    """
    link: Json = {"id": _link_id(nic)}
    if nic.bond is not None:
        yield from (_physical(mac) for mac in nic.bond.links)
        link |= {
            "type": "bond",
            "ethernet_mac_address": nic.mac,
            "bond_links": [_nic_id(mac) for mac in nic.bond.links],
        }
        link |= {"bond_mode": nic.bond.mode.value, "bond_miimon": nic.bond.miimon}
        if nic.bond.xmit_hash_policy is not None:
            # With hyphens too: cloud-init 25.1 changes the first underscore alone, which its sysconfig does not know.
            link |= dict.fromkeys(("bond_xmit_hash_policy", "bond_xmit-hash-policy"), nic.bond.xmit_hash_policy.value)
    elif nic.vlan is not None:
        link |= {"type": "vlan", "vlan_link": below[nic.vlan.link], "vlan_id": nic.vlan.id, "vlan_mac_address": nic.mac}
    else:
        link = _physical(nic.mac)
    yield link if nic.mtu is None else {**link, "mtu": nic.mtu}


def _physical(mac: str) -> Json:
    return {"id": _nic_id(mac), "type": "phy", "ethernet_mac_address": mac}


def _network(link: Link, subnet: Subnet) -> Json:
    nic, address = link.nic, subnet.address
    network: Json = {"id": f"{_link_id(nic)}-{subnet.number}", "link": _link_id(nic), "type": _type(subnet)}
    if address.cidr is not None:
        network |= {"ip_address": str(address.cidr.ip), "netmask": str(address.cidr.netmask)}
        # For cloudbase-init and newer cloud-init, which set the servers of each network.
        network["services"] = [_dns(server) for server in nic.dns if server.version == address.family]
    if subnet is next((one for one in link.subnets if one.address.cidr is not None), None):
        # Under netplan, a NIC that has servers or domains of its own does without the document's: it has to have both.
        network |= {"dns_nameservers": [str(server) for server in nic.dns]} if nic.dns else {}
        network |= {"dns_search": list(nic.search)} if nic.search else {}
    if subnet.on_link is not None:
        network["gateway"] = str(subnet.on_link)
    network["routes"] = [_route(route) for route in subnet.routes]
    return network


def _type(subnet: Subnet) -> str:
    address = subnet.address
    if address.auto is not None:
        return _TYPES[address.auto]
    return f"ipv{address.family}" if address.cidr is not None else f"ipv{address.family}_dhcp"


def _route(route: Route) -> Json:
    return {"network": str(route.to.network_address), "netmask": str(route.to.netmask), "gateway": str(route.via)}


def _dns(server: Ip) -> Json:
    return {"type": "dns", "address": str(server)}
