"""`network_data.json`: how the guest shall configure its NICs, in OpenStack's form. Pure.

Source: Nova's schema of the document, and what cloud-init and cloudbase-init read of it. `dns_nameservers`,
`dns_search`, `search` and `gateway` (of one outside of its network) are not in Nova's schema, but cloud-init reads
them. That a NIC with DHCP must not take a default route cannot be said in this form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from configdrive.contents.networks import Link, Subnet, domains_of, links_of, servers_of
from configdrive.model import Ipv6Auto

if TYPE_CHECKING:
    from collections.abc import Sequence

    from configdrive.model import Ip, Nic, Route

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
    networks = [_network(link, subnet) for link in links for subnet in link.subnets]
    return {"links": [_link(link.nic) for link in links], "networks": networks, "services": services}


def _link_id(nic: Nic) -> str:
    """Name a NIC after its address, so that the name stays when another NIC comes or goes."""
    return f"nic-{nic.mac.replace(':', '')}"


def _link(nic: Nic) -> Json:
    link = {"id": _link_id(nic), "type": "phy", "ethernet_mac_address": nic.mac}
    return link if nic.mtu is None else {**link, "mtu": nic.mtu}


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
