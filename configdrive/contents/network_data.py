"""`network_data.json`: how the guest shall configure its NICs, in OpenStack's form. Pure.

Source: Nova's schema of the document, and what cloud-init and cloudbase-init read of it. What values mean together is
checked here, as only here it is known. That a NIC with DHCP must not take a default route cannot be said in this form.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from configdrive.errors import PermanentCode, PermanentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from configdrive.model import Address, Nic

Json: TypeAlias = dict[str, Any]

_ANYWHERE: Final[dict[int, IPv4Network | IPv6Network]] = {4: IPv4Network((0, 0)), 6: IPv6Network((0, 0))}


def network_data(nics: Sequence[Nic]) -> Json | None:
    """Return the document, or `None` when no address of any NIC is known.

    The file must be left out then: with it cloud-init does not fall back to DHCP (CloudStack issue 14020).
    A VM's only NIC is its default NIC, whether it says so or not.

    Raises:
        PermanentError: `INVALID_CONTENT`, naming the field, for values that contradict each other.
    """
    _check_nics(nics)
    if not any(nic.addresses for nic in nics):
        return None
    networks = [
        _network(f"nics[{index}].addresses[{number}]", nic, number, is_default=nic.default or len(nics) == 1)
        for index, nic in enumerate(nics)
        for number in range(len(nic.addresses))
    ]
    # The default NIC's name servers first: resolvers ask in this order.
    servers = dict.fromkeys(server for nic in sorted(nics, key=lambda nic: not nic.default) for server in nic.dns)
    services = [_dns(server) for server in servers]
    return {"links": [_link(nic) for nic in nics], "networks": networks, "services": services}


def _check_nics(nics: Sequence[Nic]) -> None:
    seen = set[str]()
    for index, nic in enumerate(nics):
        if nic.mac in seen:
            raise _invalid(f"nics[{index}].mac", "another NIC has the same address", "name each NIC once")
        seen.add(nic.mac)
        for number, address in enumerate(nic.addresses):
            _check_address(f"nics[{index}].addresses[{number}]", address)
    if sum(nic.default for nic in nics) > 1:
        raise _invalid("nics", "more than one is the default NIC", "mark one only")


def _check_address(field: str, address: Address) -> None:
    if (address.cidr is None) == (address.dhcp is None):
        raise _invalid(field, "needs exactly one of 'cidr' and 'dhcp'", "give each network an entry of its own")
    if address.family not in _ANYWHERE:
        raise _invalid(f"{field}.dhcp", "is the family", "give 4 or 6")
    if address.dhcp is not None and address.gateway is not None:
        raise _invalid(f"{field}.gateway", "DHCP brings its own gateway", "leave it out, or give the address too")
    if any(other.version != address.family for other in _others(address)):
        raise _invalid(field, "mixes IPv4 and IPv6", "give each family an entry of its own")


def _others(address: Address) -> Iterator[IPv4Address | IPv6Address | IPv4Network | IPv6Network]:
    """Yield what has to be of the same family as the address."""
    if address.gateway is not None:
        yield address.gateway
    for route in address.routes:
        yield from (route.to, route.via)


def _link_id(nic: Nic) -> str:
    """Name a NIC after its address, so that the name stays when another NIC comes or goes."""
    return f"nic-{nic.mac.replace(':', '')}"


def _link(nic: Nic) -> Json:
    return {"id": _link_id(nic), "type": "phy", "ethernet_mac_address": nic.mac, "mtu": nic.mtu}


def _network(field: str, nic: Nic, number: int, *, is_default: bool) -> Json:
    address = nic.addresses[number]
    network: Json = {"id": f"{_link_id(nic)}-{number}", "link": _link_id(nic), "type": f"ipv{address.family}"}
    if address.cidr is None:
        network["type"] += "_dhcp"
    else:
        network |= {"ip_address": str(address.cidr.ip), "netmask": str(address.cidr.netmask)}
        # Here for cloudbase-init, which sets the servers of each network; cloud-init takes the document's.
        network["services"] = [_dns(server) for server in nic.dns if server.version == address.family]
    network["routes"] = _routes(field, address, is_default=is_default)
    return network


def _routes(field: str, address: Address, *, is_default: bool) -> list[Json]:
    """Return the routes of one network; a default route on the default NIC only, as a second one breaks the first."""
    routes = []
    if address.gateway is not None and is_default:
        routes.append(_route(_ANYWHERE[address.family], address.gateway))
    for number, route in enumerate(address.routes):
        if route.to.prefixlen == 0 and not is_default:
            raise _invalid(
                f"{field}.routes[{number}]",
                "a default route on a NIC that is not the default one",
                "leave it out, or mark this NIC as the default one",
            )
        routes.append(_route(route.to, route.via))
    return routes


def _route(destination: IPv4Network | IPv6Network, gateway: IPv4Address | IPv6Address) -> Json:
    return {
        "network": str(destination.network_address),
        "netmask": str(destination.netmask),
        "gateway": str(gateway),
    }


def _dns(server: IPv4Address | IPv6Address) -> Json:
    return {"type": "dns", "address": str(server)}


def _invalid(field: str, problem: str, remedy: str) -> PermanentError:
    return PermanentError(PermanentCode.INVALID_CONTENT, f"{field}: {problem}", remedy)
