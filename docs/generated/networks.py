"""The matrix of networks: every mixture of what may be known of up to three NICs, and what the guest does then.

`tests/integration/readers/test_networks.py` holds cloud-init's own renderers against all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address, ip_interface
from itertools import combinations_with_replacement, product
from typing import Final

from configdrive.contents.networks import IPV4, IPV6, Link, links_of
from configdrive.drive_data import Address, Ipv6Auto, Nic
from configdrive.errors import PermanentError
from docs.generated.source import table

MTU: Final = 9000
DNS: Final = "192.0.2.53"
MOST_NICS: Final = 3


class Known(StrEnum):
    """What is known of a NIC's addresses."""

    UNKNOWN = "unknown"
    NONE = "none"
    DHCP4 = "dhcp4"
    STATIC4 = "static4"
    STATIC6 = "static6"
    SLAAC = "slaac"


@dataclass(frozen=True)
class Cell:
    """One mixture: what is known of each NIC, which one is the default, and whether the first one's MTU is given."""

    known: tuple[Known, ...]
    default: int | None
    mtu: bool

    @property
    def nics(self) -> tuple[Nic, ...]:
        """What an event would say."""
        return tuple(
            Nic(
                f"02:00:5e:10:00:{index:02x}",
                MTU if self.mtu and index == 0 else None,
                index == self.default,
                (ip_address(DNS),) if index == 0 else (),
                addresses(known, index),
            )
            for index, known in enumerate(self.known)
        )

    def static(self, known: Known) -> list[int]:
        """Return the NICs of which this is known."""
        return [index for index, one in enumerate(self.known) if one is known]

    def by_itself(self, family: int) -> bool:
        """Whether the default NIC gets its default route from the network."""
        if self.default is None:
            return False
        return self.known[self.default] in ({Known.DHCP4, Known.UNKNOWN} if family == IPV4 else {Known.SLAAC})

    @property
    def refused(self) -> bool:
        """Whether nobody can say through which NIC the default route goes."""
        return any(
            len(self.static(known)) > 1 and self.default not in self.static(known) and not self.by_itself(family)
            for family, known in FAMILIES.items()
        )

    @property
    def asks(self) -> int | None:
        """Which NIC asks by DHCP although nothing says so; only where something is known of another one."""
        if self.default is not None:
            return self.default if self.known[self.default] is Known.UNKNOWN else None
        if {Known.STATIC4, Known.DHCP4} & set(self.known):
            return None
        return next(iter(self.static(Known.UNKNOWN)), None)


FAMILIES: Final = {IPV4: Known.STATIC4, IPV6: Known.STATIC6}


def cells() -> Iterator[Cell]:
    """Yield every mixture; of three NICs, each once in whatever order, the first with an MTU."""
    mixtures = [*product(Known, repeat=1), *product(Known, repeat=2), *combinations_with_replacement(Known, MOST_NICS)]
    for known in mixtures:
        for default in {None, 0, len(known) - 1}:
            for mtu in (False, True) if len(known) < MOST_NICS else (True,):
                yield Cell(known, default, mtu)


def addresses(known: Known, index: int) -> tuple[Address, ...] | None:
    """Return what an event would say of such a NIC."""
    match known:
        case Known.UNKNOWN:
            return None
        case Known.NONE:
            return ()
        case Known.DHCP4:
            return (Address(dhcp=4),)
        case Known.STATIC4:
            return (Address(ip_interface(f"10.1.{index}.14/24"), gateway=ip_address(f"10.1.{index}.1")),)
        case Known.STATIC6:
            own = ip_interface(f"2001:db8:{index}::14/64")
            return (Address(own, gateway=ip_address(f"2001:db8:{index}::1")),)
        case Known.SLAAC:
            return (Address(auto=Ipv6Auto.SLAAC),)


def markdown() -> str:
    """Return a table of all mixtures of two NICs."""
    headings = ("first NIC", "second NIC", "none is `default`", "the first is", "the second is")
    rows = (
        [f"{first}", f"{second}", *(_does(Cell((first, second), default, mtu=False)) for default in (None, 0, 1))]
        for first, second in combinations_with_replacement(Known, 2)
    )
    return table(headings, rows)


def _does(cell: Cell) -> str:
    try:
        links = links_of(cell.nics)
    except PermanentError:
        return "refused"
    return ", ".join(map(_of_link, links)) if links else "no file"


def _of_link(link: Link) -> str:
    return (
        "+".join(
            "DHCP"
            if subnet.address.dhcp
            else "SLAAC"
            if subnet.address.auto
            else "address and default route"
            if subnet.routes
            else "address"
            for subnet in link.subnets
        )
        or "link"
    )
