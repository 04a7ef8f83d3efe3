"""`network_data.json`: how the guest shall configure its NICs, in OpenStack's form. Pure.

Source: Nova's schema of the document, and what cloud-init and cloudbase-init read of it. Values are checked here, as
only here their meaning is known. That a NIC with DHCP must not take a default route cannot be said in this form.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_interface, ip_network
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from configdrive.errors import PermanentCode, PermanentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from configdrive.model import Address, Nic, Route

Json: TypeAlias = dict[str, Any]
Ip: TypeAlias = IPv4Address | IPv6Address

_MAC: Final = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_MTU: Final = range(68, 65_536)
"""Bytes: from RFC 791's minimum to the largest that an IP packet can have."""
_ANYWHERE: Final[dict[int, IPv4Network | IPv6Network]] = {4: IPv4Network((0, 0)), 6: IPv6Network((0, 0))}


def network_data(nics: Sequence[Nic]) -> Json | None:
    """Return the document, or `None` when no address of any NIC is known.

    The file must be left out then: with it cloud-init does not fall back to DHCP (CloudStack issue 14020).
    A VM's only NIC is its default NIC, whether it says so or not.

    Raises:
        PermanentError: `INVALID_CONTENT`, naming the field, for values that are none or contradict each other.
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
        field = f"nics[{index}]"
        if _MAC.fullmatch(nic.mac) is None:
            raise _invalid(f"{field}.mac", "is no MAC address", "write it like 02:00:5e:10:00:01")
        if nic.mac.lower() in seen:
            raise _invalid(f"{field}.mac", "another NIC has the same address", "name each NIC once")
        seen.add(nic.mac.lower())
        if nic.mtu not in _MTU:
            raise _invalid(f"{field}.mtu", "is out of range", f"give {_MTU.start} to {_MTU.stop - 1} bytes")
        for number, server in enumerate(nic.dns):
            _ip(f"{field}.dns[{number}]", server)
    if sum(nic.default for nic in nics) > 1:
        raise _invalid("nics", "more than one is the default NIC", "mark one only")


def _link_id(nic: Nic) -> str:
    """Name a NIC after its address, so that the name stays when another NIC comes or goes."""
    return f"nic-{nic.mac.lower().replace(':', '')}"


def _link(nic: Nic) -> Json:
    return {"id": _link_id(nic), "type": "phy", "ethernet_mac_address": nic.mac.lower(), "mtu": nic.mtu}


def _network(field: str, nic: Nic, number: int, *, is_default: bool) -> Json:
    address = nic.addresses[number]
    if address.family not in _ANYWHERE:
        raise _invalid(f"{field}.family", "is no IP version", "give 4 or 6")
    network: Json = {"id": f"{_link_id(nic)}-{number}", "link": _link_id(nic), "type": f"ipv{address.family}"}
    if address.address is None:
        if address.gateway is not None:
            raise _invalid(f"{field}.gateway", "DHCP brings its own gateway", "leave it out, or give the address too")
        network["type"] += "_dhcp"
    else:
        network |= _static(field, address)
        # Here for cloudbase-init, which sets the servers of each network; cloud-init takes the document's.
        network["services"] = [_dns(server) for server in nic.dns if ip_address(server).version == address.family]
    network["routes"] = _routes(field, address, is_default=is_default)
    return network


def _static(field: str, address: Address) -> Json:
    own = _ip(f"{field}.address", str(address.address), address.family)
    if address.prefix is None or not 0 <= address.prefix <= own.max_prefixlen:
        raise _invalid(f"{field}.prefix", "is no prefix length", f"give 0 to {own.max_prefixlen} bits")
    return {"ip_address": str(own), "netmask": str(ip_interface((own, address.prefix)).netmask)}


def _routes(field: str, address: Address, *, is_default: bool) -> list[Json]:
    """Return the routes of one network; a default route on the default NIC only, as a second one breaks the first."""
    routes = []
    if address.gateway is not None:
        gateway = _ip(f"{field}.gateway", address.gateway, address.family)
        if is_default:
            routes.append(_route(_ANYWHERE[address.family], gateway))
    for number, route in enumerate(address.routes):
        destination, gateway = _checked_route(f"{field}.routes[{number}]", address.family, route)
        if destination.prefixlen == 0 and not is_default:
            raise _invalid(
                f"{field}.routes[{number}]",
                "a default route on a NIC that is not the default one",
                "leave it out, or mark this NIC as the default one",
            )
        routes.append(_route(destination, gateway))
    return routes


def _checked_route(field: str, family: int, route: Route) -> tuple[IPv4Network | IPv6Network, Ip]:
    _ip(f"{field}.network", route.network, family)
    try:
        destination = ip_network(f"{route.network}/{route.prefix}")
    except ValueError:
        problem = "is no network: the prefix is out of range, or bits are set behind it"
        raise _invalid(field, problem, "give the network's first address and its prefix length") from None
    return destination, _ip(f"{field}.gateway", route.gateway, family)


def _route(destination: IPv4Network | IPv6Network, gateway: Ip) -> Json:
    return {
        "network": str(destination.network_address),
        "netmask": str(destination.netmask),
        "gateway": str(gateway),
    }


def _dns(server: str) -> Json:
    return {"type": "dns", "address": server}


def _ip(field: str, value: str, family: int | None = None) -> Ip:
    try:
        address = ip_address(value)
    except ValueError:
        raise _invalid(field, "is no IP address", "give a plain IPv4 or IPv6 address") from None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise _invalid(field, "has a scope, which only the guest could know", "leave out the '%' and what follows")
    if family is not None and address.version != family:
        raise _invalid(field, f"is no IPv{family} address", "give each family an entry of its own")
    return address


def _invalid(field: str, problem: str, remedy: str) -> PermanentError:
    return PermanentError(PermanentCode.INVALID_CONTENT, f"{field}: {problem}", remedy)
