"""The files of cloud-init's NoCloud source, in the root of drives whose label is `cidata`, and of no others. Pure.

Source: `DataSourceNoCloud.py`; it insists on `user-data` and `meta-data`. It follows `seedfrom` and `dsmode` at the top
of `meta-data`, so nothing of the tenant's is there. `network-config` has version 1.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from configdrive.contents.networks import IPV6, Link, Subnet, domains_of, links_of, made_in_order, servers_of
from configdrive.contents.vendor_data import vendor_data, yaml_string
from configdrive.drive_data import Ipv6Auto

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from configdrive.drive_data import Nic, Route, VmData
    from configdrive.model import Vm

Json: TypeAlias = dict[str, Any]

_LABEL: Final = "cidata"
_MEMBER: Final = "member "
"""Before the MAC address of a bond's NIC, which may be the bond's too."""
_TYPES: Final = {Ipv6Auto.SLAAC: "ipv6_slaac", Ipv6Auto.STATELESS: "ipv6_dhcpv6-stateless"}


def is_for(label: str) -> bool:
    """Say whether a drive of this label is one that NoCloud looks at."""
    return label.lower() == _LABEL


def files(vm: Vm, data: VmData, password: str | None, operators: str | None) -> dict[str, bytes]:
    """Return the files by their path on the drive.

    Raises:
        PermanentError: `INVALID_CONTENT`, for a network configuration that contradicts itself.
    """
    found = {
        "user-data": b"" if data.user_data is None else data.user_data.get_secret_value(),
        "meta-data": meta_data(vm, data).encode("ascii"),
    }
    vendor = vendor_data(data, password, operators)
    if vendor is not None:
        found["vendor-data"] = vendor.encode("utf-8")
    network = network_config(data.nics or ())
    if network is not None:  # JSON is YAML, as long as it is ASCII
        found["network-config"] = json.dumps(network, separators=(", ", ": ")).encode("ascii")
    return found


def meta_data(vm: Vm, data: VmData) -> str:
    """Return `meta-data`, as YAML."""
    lines = [f"instance-id: {yaml_string(data.instance_id or vm.uuid)}"]
    if data.metadata.local_hostname is not None:
        lines.append(f"local-hostname: {yaml_string(data.metadata.local_hostname)}")
    if data.ssh_keys:
        lines += ["public-keys:", *(f"- {yaml_string(key.key)}" for key in data.ssh_keys)]
    return "\n".join([*lines, ""])


def network_config(nics: Sequence[Nic]) -> Json | None:
    """Return `network-config`, or `None` when nothing is known of any NIC.

    The NICs are called `eth0`, `eth1`, …, bonds `bond0`, …, VLANs `eth0.7`: this form cannot do without names.

    Raises:
        PermanentError: as `configdrive.contents.networks.links_of`.
    """
    links = links_of(nics)
    if not links:
        return None
    names = _names(links)
    config: list[Json] = [one for link in made_in_order(links) for one in _devices(link, names)]
    servers, domains = servers_of(links), domains_of(links)
    if servers:
        config.append({"type": "nameserver", "address": [str(server) for server in servers], "search": list(domains)})
    return {"version": 1, "config": config}


def _names(links: Sequence[Link]) -> dict[str, str]:
    """Return the names of NICs and bonds by their MAC address; a bond's NIC that has the bond's is not among them."""
    nics, bonds = itertools.count(), itertools.count()
    names: dict[str, str] = {}
    for link in links:
        bond = link.nic.bond
        if bond is not None:
            names |= {f"{_MEMBER}{mac}": f"eth{next(nics)}" for mac in bond.links}
            names[link.nic.mac] = f"bond{next(bonds)}"
        elif link.nic.vlan is None:
            names[link.nic.mac] = f"eth{next(nics)}"
    return names


def _devices(link: Link, names: Mapping[str, str]) -> Iterator[Json]:
    """Yield a link, and before a bond the NICs that it is made of."""
    bond, vlan = link.nic.bond, link.nic.vlan
    if bond is not None:
        members = {names[f"{_MEMBER}{mac}"]: mac for mac in bond.links}
        for name, mac in members.items():
            yield {"type": "physical", "name": name, "mac_address": mac, "subnets": []}
        params: Json = {"bond-mode": bond.mode.value, "bond-miimon": bond.miimon}
        if bond.xmit_hash_policy is not None:
            params["bond-xmit-hash-policy"] = bond.xmit_hash_policy.value
        kind: Json = {"type": "bond", "name": names[link.nic.mac], "bond_interfaces": list(members), "params": params}
    elif vlan is not None:
        below = names[vlan.link]
        kind = {"type": "vlan", "name": f"{below}.{vlan.id}", "vlan_link": below, "vlan_id": vlan.id}
    else:
        kind = {"type": "physical", "name": names[link.nic.mac]}
    yield kind | _configured(link)


def _configured(link: Link) -> Json:
    nic: Json = {"mac_address": link.nic.mac}
    if link.nic.mtu is not None:
        nic["mtu"] = link.nic.mtu
    six = [subnet for subnet in link.subnets if subnet.address.family == IPV6]
    if any(subnet.routes or subnet.on_link for subnet in six) and all(subnet.address.cidr for subnet in six):
        nic["accept-ra"] = False  # the default route is given
    nic["subnets"] = [_subnet(link, subnet) for subnet in link.subnets]
    return nic


def _subnet(link: Link, subnet: Subnet) -> Json:
    address = subnet.address
    if address.cidr is None:
        return {"type": f"dhcp{address.family}" if address.auto is None else _TYPES[address.auto]}
    found: Json = {"type": "static6" if address.family == IPV6 else "static", "address": str(address.cidr)}
    if subnet.on_link is not None:
        found["gateway"] = str(subnet.on_link)
    if subnet.routes:
        found["routes"] = [_route(route) for route in subnet.routes]
    if subnet is next(one for one in link.subnets if one.address.cidr is not None):
        # As in `network_data`: one of the two alone would count for the other one's absence.
        found |= {"dns_nameservers": [str(server) for server in link.nic.dns]} if link.nic.dns else {}
        found |= {"dns_search": list(link.nic.search)} if link.nic.search else {}
    return found


def _route(route: Route) -> Json:
    return {"network": str(route.to.network_address), "netmask": str(route.to.netmask), "gateway": str(route.via)}
