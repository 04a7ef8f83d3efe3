"""The NICs of a guest, as it shall configure them: which route goes where, and what contradicts itself. Pure.

`network_data` and `nocloud` write the same links in two forms. What cloud-init makes of them for each of its renderers
is in `docs/reference/networks.md`; the rules here are those that hold in all of them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Final, TypeAlias

from configdrive.drive_data import Address, Ip, Nic, Route, Vlan
from configdrive.errors import PermanentCode, PermanentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

IPV4, IPV6 = 4, 6
"""The families."""

ANYWHERE: Final[dict[int, IPv4Network | IPv6Network]] = {IPV4: IPv4Network((0, 0)), IPV6: IPv6Network((0, 0))}
"""What a default route leads to, by family."""

_LEAST_MTU_OF_IPV6: Final = 1280
"""RFC 8200, section 5."""
_UNKNOWN: Final = Address(dhcp=4)
"""What the NIC that carries the default route gets when nothing is known of it: what it had without any file."""

_Where: TypeAlias = tuple[int, int]
"""The index of a NIC, and of one of its addresses."""


@dataclass(frozen=True, slots=True)
class Subnet:
    """One entry of a NIC's addresses, with the routes that go through it.

    Args:
        number: its index among the NIC's.
        address: the entry.
        routes: its own, and the default route first if it carries one whose gateway is in its network.
        on_link: the gateway of a default route that is not in its network.
    """

    number: int
    address: Address
    routes: tuple[Route, ...] = ()
    on_link: Ip | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A NIC and its subnets; one without any is only there."""

    nic: Nic
    subnets: tuple[Subnet, ...] = ()

    @property
    def is_static(self) -> bool:
        """Whether it has an address that does not come from the network."""
        return any(subnet.address.cidr is not None for subnet in self.subnets)


def links_of(nics: Sequence[Nic]) -> tuple[Link, ...]:
    """Return a link for each NIC, bond and VLAN; none when nothing is known of any, for then the guest decides itself.

    The default route of a family goes through the default NIC, or else through the only one that has a gateway. A NIC
    of which nothing is known asks by DHCP if the default route would go through it. Others that are not known are only
    there: to wait for a DHCP server that there may not be costs a boot minutes.

    Raises:
        PermanentError: `INVALID_CONTENT`, naming the field and the remedy, for values that contradict each other.
    """
    _check(nics)
    if all(nic.addresses is None and nic.bond is None and nic.vlan is None for nic in nics):
        return ()
    carriers = {family: _carrier(nics, family) for family in ANYWHERE}
    asks = _asks(nics, carriers[IPV4])
    return tuple(
        Link(nic, (Subnet(0, _UNKNOWN),) if index == asks else tuple(_subnets(index, nic, carriers)))
        for index, nic in enumerate(nics)
    )


def made_in_order(links: Iterable[Link]) -> tuple[Link, ...]:
    """Return the links, each behind those that it is made of: VLANs last, as a bond names its NICs itself."""
    return tuple(sorted(links, key=lambda link: link.nic.vlan is not None))


def servers_of(links: Iterable[Link]) -> tuple[Ip, ...]:
    """Return all name servers, each once; the default NIC's first, as resolvers ask in this order."""
    in_order = sorted(links, key=lambda link: not link.nic.default)
    return tuple(dict.fromkeys(server for link in in_order for server in link.nic.dns))


def domains_of(links: Iterable[Link]) -> tuple[str, ...]:
    """Return all search domains, in the same order."""
    in_order = sorted(links, key=lambda link: not link.nic.default)
    return tuple(dict.fromkeys(domain for link in in_order for domain in link.nic.search))


# --- routes -----------------------------------------------------------------------------------------------------------


def _asks(nics: Sequence[Nic], carrier: _Where | None) -> int | None:
    """Return which NIC asks by DHCP because nothing is known of it."""
    marked = [index for index, nic in enumerate(nics) if nic.default]
    if marked:
        [index] = marked
        return index if nics[index].addresses is None else None
    has_way = carrier is not None or any(_is_dynamic(address, IPV4) for nic in nics for address in nic.addresses or ())
    return None if has_way else next((index for index, nic in enumerate(nics) if nic.addresses is None), None)


def _carrier(nics: Sequence[Nic], family: int) -> _Where | None:
    """Return which entry's gateway becomes the default route of a family; `None` where none does.

    Raises:
        PermanentError: several could, and none is marked.
    """
    found = [
        (index, number)
        for index, nic in enumerate(nics)
        for number, address in enumerate(nic.addresses or ())
        if address.family == family and _gateway(address) is not None
    ]
    for index, nic in enumerate(nics):
        if not nic.default:
            continue
        own = [where for where in found if where[0] == index]
        if own:
            return own[0]
        comes_by_itself = nic.addresses is None and family == IPV4  # DHCP, in `links_of`
        if comes_by_itself or any(_is_dynamic(address, family) for address in nic.addresses or ()):
            return None
    if len({index for index, _ in found}) > 1:
        raise invalid(
            "nics", f"several have an IPv{family} gateway, and none of them is the default NIC", "mark one as 'default'"
        )
    return found[0] if found else None


def _is_dynamic(address: Address, family: int) -> bool:
    return address.cidr is None and address.family == family


def _gateway(address: Address) -> Ip | None:
    """Return where an entry's default route would lead: its gateway, or a route to everywhere."""
    if address.gateway is not None:
        return address.gateway
    return next((route.via for route in address.routes if route.to.prefixlen == 0), None)


def _subnets(index: int, nic: Nic, carriers: dict[int, _Where | None]) -> Iterator[Subnet]:
    """Yield a NIC's subnets, those with an address first: the last one says whether router advertisements count."""
    numbered = enumerate(nic.addresses or ())
    for number, address in sorted(numbered, key=lambda entry: entry[1].cidr is None):
        routes = tuple(route for route in address.routes if route.to.prefixlen)
        gateway = _gateway(address)
        if gateway is None or carriers[address.family] != (index, number):
            yield Subnet(number, address, routes)
        elif address.cidr is not None and _reaches(address.cidr.network, gateway):
            yield Subnet(number, address, (Route(ANYWHERE[address.family], gateway), *routes))
        else:
            yield Subnet(number, address, routes, on_link=gateway)


def _reaches(network: IPv4Network | IPv6Network, gateway: Ip) -> bool:
    return gateway in network or gateway.is_link_local


# --- checks -----------------------------------------------------------------------------------------------------------


def _check(nics: Sequence[Nic]) -> None:
    _check_links(nics)
    ips = set[Ip]()
    for index, nic in enumerate(nics):
        for number, address in enumerate(nic.addresses or ()):
            field = f"nics[{index}].addresses[{number}]"
            _check_form(field, address)
            if address.cidr is not None:
                _check_own(f"{field}.cidr", address.cidr.ip, address.cidr.network)
                if address.cidr.ip in ips:
                    raise invalid(f"{field}.cidr", "stands there twice", "give each address once")
                ips.add(address.cidr.ip)
            _check_gateway(f"{field}.gateway", address)
        _check_nic(f"nics[{index}]", nic)
    if sum(nic.default for nic in nics) > 1:
        raise invalid("nics", "more than one is the default NIC", "mark one only")
    for index, nic in enumerate(nics):
        _check_default_routes(index, nic, nics)


def _check_links(nics: Sequence[Nic]) -> None:
    """Refuse links of which a guest could not tell one from another, or that are made of what is not there."""
    owners: dict[str, Nic] = {}
    for index, nic in enumerate(nics):
        if nic.bond is not None and nic.vlan is not None:
            raise invalid(f"nics[{index}]", "is a bond and a VLAN", "give each an entry of its own")
        if nic.vlan is not None:
            continue
        members = () if nic.bond is None else nic.bond.links
        for field, mac in [(f"nics[{index}].mac", nic.mac), *((f"nics[{index}].bond.links", mac) for mac in members)]:
            if owners.setdefault(mac, nic) is not nic:
                raise invalid(field, "another NIC has the same address", "name each NIC once")
        if len(set(members)) < len(members):
            raise invalid(f"nics[{index}].bond.links", "name a NIC twice", "name each NIC once")
    made = set[Vlan]()
    for index, nic in enumerate(nics):
        if nic.vlan is not None:
            _check_vlan(f"nics[{index}]", nic, nic.vlan, owners)
            if nic.vlan in made:
                raise invalid(f"nics[{index}].vlan", "stands there twice", "give each VLAN one entry")
            made.add(nic.vlan)


def _check_vlan(field: str, nic: Nic, vlan: Vlan, owners: Mapping[str, Nic]) -> None:
    below = owners.get(vlan.link)
    if below is None or below.mac != vlan.link:
        remedy = "give that NIC or bond an entry, without addresses ('[]') if it has none of its own"
        raise invalid(f"{field}.vlan.link", "is no other entry's MAC address", remedy)
    if owners.get(nic.mac, below) is not below:
        raise invalid(f"{field}.mac", "is that of a NIC which the VLAN is not on", "give the address of its own link")
    if nic.mtu is not None and below.mtu is not None and nic.mtu > below.mtu:
        raise invalid(f"{field}.mtu", f"is above its link's, which is {below.mtu}", "give as much or less")


def _check_form(field: str, address: Address) -> None:
    given = Counter(value is not None for value in (address.cidr, address.dhcp, address.auto))[True]
    if given != 1:
        raise invalid(field, "needs exactly one of 'cidr', 'dhcp' and 'auto'", "give each network an entry of its own")
    if address.family not in ANYWHERE:
        raise invalid(f"{field}.dhcp", "is the family", "give 4 or 6")
    if address.cidr is None and address.gateway is not None:
        raise invalid(f"{field}.gateway", "DHCP brings its own gateway", "leave it out, or give the address too")
    if address.cidr is None and address.routes:
        remedy = "let the DHCP server send them (option 121, or router advertisements), or give the address too"
        raise invalid(f"{field}.routes", "are lost beside an address that the network gives (netplan)", remedy)
    if any(other.version != address.family for other in _others(address)):
        raise invalid(field, "mixes IPv4 and IPv6", "give each family an entry of its own")


def _others(address: Address) -> Iterator[Ip | IPv4Network | IPv6Network]:
    """Yield what has to be of the same family as the address."""
    if address.gateway is not None:
        yield address.gateway
    for route in address.routes:
        yield from (route.to, route.via)


def _check_own(field: str, ip: Ip, network: IPv4Network | IPv6Network) -> None:
    if network.prefixlen == 0:
        raise invalid(field, "has a network that is everything", "give the prefix length of the NIC's network")
    problem = _unusable(ip, network)
    if problem is not None:
        raise invalid(field, problem, "give the address of the NIC itself")


def _unusable(ip: Ip, network: IPv4Network | IPv6Network) -> str | None:
    """Say why an address cannot be a machine's in a network."""
    if ip.is_multicast or ip.is_unspecified or ip.is_loopback or (ip.version == IPV4 and ip.is_reserved):
        return "is no address of a machine"
    if network.max_prefixlen - network.prefixlen <= 1 or ip not in network:
        return None  # RFC 3021, RFC 6164: two machines, or one
    if ip == network.network_address:
        return "is the address of the network"
    if ip.version == IPV4 and ip == network.broadcast_address:
        return "is the broadcast address of the network"
    return None


def _check_gateway(field: str, address: Address) -> None:
    if address.cidr is None or address.gateway is None:
        return
    network = address.cidr.network
    problem = "is the NIC's own address" if address.gateway == address.cidr.ip else _unusable(address.gateway, network)
    if problem is not None:
        raise invalid(field, problem, "give the router's address")
    if not _reaches(network, address.gateway) and not address.on_link:
        remedy = "give the prefix length of the network that both are in, or say 'on_link' if it answers all the same"
        raise invalid(field, f"is not in {network}", remedy)


def _check_nic(field: str, nic: Nic) -> None:
    addresses = nic.addresses or ()
    networks = [address.cidr.network for address in addresses if address.cidr is not None]
    for number, address in enumerate(addresses):
        for place, route in enumerate(address.routes):
            reached = route.via.is_link_local or any(route.via in network for network in networks)
            if not reached or any(address.cidr.ip == route.via for address in addresses if address.cidr is not None):
                name = f"{field}.addresses[{number}].routes[{place}].via"
                raise invalid(name, "is no neighbour of the NIC", "give a router in one of the NIC's networks")
    if nic.mtu is not None and nic.mtu < _LEAST_MTU_OF_IPV6 and any(address.family == IPV6 for address in addresses):
        raise invalid(f"{field}.mtu", f"IPv6 needs {_LEAST_MTU_OF_IPV6}", "give as much, or no IPv6 address")
    is_static = any(network.version == IPV6 for network in networks)
    if is_static and any(address.auto is not None for address in addresses):
        remedy = "leave out one of the two; with a fixed address cloud-init turns router advertisements off"
        raise invalid(f"{field}.addresses", "'auto' stands beside a fixed IPv6 address", remedy)


def _check_default_routes(index: int, nic: Nic, nics: Sequence[Nic]) -> None:
    addresses = nic.addresses or ()
    for family in ANYWHERE:
        of_family = [address for address in addresses if address.family == family]
        routes = [route.via for address in of_family for route in address.routes if route.to.prefixlen == 0]
        gateways = {address.gateway for address in of_family if address.gateway is not None} | set(routes)
        if len(gateways) > 1:
            raise invalid(f"nics[{index}].addresses", f"have two IPv{family} default gateways", "give one")
        if len(gateways) < len(routes) or (routes and any(address.gateway for address in of_family)):
            raise invalid(f"nics[{index}].addresses", f"have two IPv{family} default routes", "give one")
    for number, address in enumerate(addresses):
        for place, route in enumerate(address.routes):
            if route.to.prefixlen == 0 and not nic.default and any(other.default for other in nics):
                raise invalid(
                    f"nics[{index}].addresses[{number}].routes[{place}]",
                    "a default route on a NIC that is not the default one",
                    "leave it out, or mark this NIC as the default one",
                )


def invalid(field: str, problem: str, remedy: str) -> PermanentError:
    """Return the refusal of a field."""
    return PermanentError(PermanentCode.INVALID_CONTENT, f"{field}: {problem}", remedy)
