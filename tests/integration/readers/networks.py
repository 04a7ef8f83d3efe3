"""What a rendering of cloud-init came to: the same few facts, whichever of its renderers wrote it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_interface
from typing import Any, Final

import yaml


@dataclass
class Rendered:
    """What one renderer says of one NIC."""

    addresses: set[str] = field(default_factory=set)
    asks4: bool = False
    listens: bool = False
    """For router advertisements, by its own word or because nothing turns it off."""
    defaults: list[str] = field(default_factory=list)
    mtu: int | None = None
    dns: set[str] = field(default_factory=set)


def read(renderer: str, files: Mapping[str, str], count: int) -> tuple[list[Rendered], set[str]]:
    """Return what a rendering says of each of so many NICs, and the name servers of the whole guest."""
    found = [_READERS[renderer](files, f"eth{index}") for index in range(count)]
    shared = "".join(files.get(name, "") for name in ("interfaces", "resolv.conf"))
    servers = re.findall(r"(?:nameserver|dns-nameservers) (.*)", shared)
    return found, {server for line in servers for server in line.split()}


@lru_cache(maxsize=1)
def _loaded(text: str) -> Any:  # noqa: ANN401
    return yaml.load(text, yaml.CSafeLoader)


def _netplan(files: Mapping[str, str], name: str) -> Rendered:
    nic = _loaded(files["50-cloud-init.yaml"])["network"]["ethernets"][name]
    routes = [route["via"] for route in nic.get("routes", ()) if route["to"] in {"0.0.0.0/0", "::/0", "default"}]
    return Rendered(
        set(nic.get("addresses", ())),
        nic.get("dhcp4", False),
        nic.get("accept-ra", True),
        routes,
        nic.get("mtu"),
        set(nic.get("nameservers", {}).get("addresses", ())),
    )


def _networkd(files: Mapping[str, str], name: str) -> Rendered:
    text = files[name]
    mtu = re.search(r"^MTUBytes=(\d+)$", text, re.MULTILINE)
    routes = re.findall(r"\[Route\]\s+Destination=(?:0\.0\.0\.0|::)/0\s+Gateway=(\S+)", text)
    return Rendered(
        set(re.findall(r"^Address=(\S+)$", text, re.MULTILINE)),
        "DHCP=ipv4" in text or "DHCP=yes" in text,
        "IPv6AcceptRA=False" not in text,
        routes,
        None if mtu is None else int(mtu[1]),
        {server for line in re.findall(r"^DNS=(.*)$", text, re.MULTILINE) for server in line.split()},
    )


def _eni(files: Mapping[str, str], name: str) -> Rendered:
    parts = re.split(r"^(?=auto |iface |# control)", files["interfaces"], flags=re.MULTILINE)
    text = "".join(part for part in parts if re.match(rf"iface {name} ", part))
    mtu = re.search(r"^    mtu (\d+)$", text, re.MULTILINE)
    return Rendered(
        set(re.findall(r"^    address (\S+)$", text, re.MULTILINE)),
        f"iface {name} inet dhcp" in text,
        "accept_ra 0" not in text,
        re.findall(r"post-up route add(?: -A inet6)? default gw (\S+)", text),
        None if mtu is None else int(mtu[1]),
    )


def _sysconfig(files: Mapping[str, str], name: str) -> Rendered:
    values = dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", files[f"ifcfg-{name}"], re.MULTILINE))
    own = {values["IPV6ADDR"]} if "IPV6ADDR" in values else set()
    if "IPADDR" in values:
        own.add(str(ip_interface(f"{values['IPADDR']}/{values['NETMASK']}")))
    mtu = values.get("MTU") or values.get("IPV6_MTU")
    return Rendered(
        own,
        values["BOOTPROTO"] == "dhcp",
        values.get("IPV6_AUTOCONF") != "no",
        [values[key] for key in ("GATEWAY", "IPV6_DEFAULTGW") if key in values],
        None if mtu is None else int(mtu),
        {value for key, value in values.items() if re.fullmatch(r"DNS\d", key)},
    )


_READERS: Final = {"netplan": _netplan, "networkd": _networkd, "eni": _eni, "sysconfig": _sysconfig}
