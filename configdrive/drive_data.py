"""The data on a drive: metadata, user data, ssh keys and NICs, each with its rules in its type.

Whoever reads it from outside (the event contract, the state at rest) has pydantic check them; who makes it in code is
trusted. How it is written: `configdrive.contents`.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyAddress,
    IPvAnyInterface,
    IPvAnyNetwork,
    JsonValue,
    SecretBytes,
    StrictBool,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from configdrive.ssh_keys import normal

_HOST_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
HOST_NAME: Final = rf"{_HOST_LABEL}(?:\.{_HOST_LABEL})*"
"""Labels of letters, digits and hyphens, with dots between them (RFC 1123, section 2.1)."""

MAX_EXTRA_VALUE: Final = 65_536
"""Characters of an extra metadata value."""

ONE_LINE_PATTERN: Final = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029\ud800-\udfff]*$"
"""What `line_problem` takes, for readers of the contract's JSON Schema; ECMA-262's and Python's."""

PUBLIC_KEY_PATTERN: Final = (
    r"^\s*[^\u0000-\u0008\u000a-\u001f\u007f]*(?:ssh|ecdsa|sk|rsa|webauthn)-[A-Za-z0-9@.-]+[ \t]+"
    r"AAAA[A-Za-z0-9+/]+={0,2}(?:[ \t][^\u0000-\u0008\u000a-\u001f\u007f]*)?\s*$"
)
"""The form of a public key's line; what its base64 holds is beyond a pattern."""

_NOT_IN_A_LINE: Final = frozenset({"Cc", "Zl", "Zp", "Cs"})
"""Unicode categories that a one-line value may not have: controls, line and paragraph separators, lone surrogates."""


def line_problem(value: str) -> str | None:
    """Say why a text is not one printable line, with the remedy, or `None` when it is."""
    # Printable text has none of them: the usual value is not looked at one character at a time.
    if not value.isprintable() and any(unicodedata.category(character) in _NOT_IN_A_LINE for character in value):
        return "has a control character or a line break; give one line of printable text"
    return None


def _one_line(value: str) -> str:
    problem = line_problem(value)
    if problem is not None:
        code = "control_character"
        raise PydanticCustomError(code, "{problem}", {"problem": problem})
    return value


def _plain_json(value: JsonValue) -> JsonValue:
    try:
        text = value if isinstance(value, str) else json.dumps(value, allow_nan=False)
        text.encode()
    except (ValueError, RecursionError):
        code = "json_value"
        raise PydanticCustomError(code, "is no plain JSON; give finite numbers and whole characters") from None
    if len(text) > MAX_EXTRA_VALUE:
        code = "too_long"
        raise PydanticCustomError(
            code, "has more than {most} characters; put large content into the user data", {"most": MAX_EXTRA_VALUE}
        )
    if "\x00" in text or (text is not value and "\\u0000" in text):
        code = "control_character"
        raise PydanticCustomError(code, "has a NUL character; remove it")
    return value


def _public_key(value: str) -> str:
    line = normal(value)
    if line is None:
        code = "ssh_public_key"
        raise PydanticCustomError(
            code,
            "is not a public key as OpenSSH takes it ('ssh-ed25519 AAAA… comment'); give the content of the .pub file",
        )
    return line


def _mac(value: str) -> str:
    mac = value.lower()
    if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", mac):
        code = "mac"
        raise PydanticCustomError(code, "is no MAC address; write it like 02:00:5e:10:00:01")
    if int(mac[1], 16) % 2 or mac == "00:00:00:00:00:00":
        code = "mac"
        raise PydanticCustomError(code, "is a group's address, and no NIC's; give the NIC's own")
    return mac


def _with_prefix(value: object) -> object:
    """Refuse an address alone, which `ipaddress` takes for a network of its own."""
    if isinstance(value, str) and "/" not in value:
        code = "ip_interface"
        raise PydanticCustomError(code, "has no prefix length; write it like 192.0.2.7/24 or 2001:db8::7/64")
    return _written_out(value)


def _domain(value: str) -> str:
    if not re.fullmatch(HOST_NAME, value):
        code = "domain"
        raise PydanticCustomError(
            code,
            "is no host or domain name; give labels of up to 63 letters, digits and hyphens, with single dots between"
            " them and no hyphen at either end (xn--… for others)",
        )
    return value


def _written_out(value: object) -> object:
    """Refuse what `ipaddress` takes besides addresses: numbers (1 would be 0.0.0.1), and scopes, which it may drop."""
    if isinstance(value, (int, bytes, list)) or (isinstance(value, str) and "%" in value):
        code = "ip_address"
        raise PydanticCustomError(code, "is no plain address; write it like 192.0.2.7 or 2001:db8::7, without a scope")
    return value


OneLine = Annotated[
    str,
    StringConstraints(min_length=1, max_length=255),
    AfterValidator(_one_line),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 255, "pattern": ONE_LINE_PATTERN}),
]
"""One line of printable text."""

ExtraValue = Annotated[
    JsonValue,
    AfterValidator(_plain_json),
    WithJsonSchema(
        {
            "if": {"type": "string"},
            "then": {"type": "string", "maxLength": MAX_EXTRA_VALUE, "pattern": r"^[^\u0000\ud800-\udfff]*$"},
        }
    ),
]
"""Any JSON of up to 64 Ki characters, as text or written out; its texts have no NUL."""

PublicKey = Annotated[
    str,
    StringConstraints(max_length=16_384),
    AfterValidator(_public_key),
    WithJsonSchema({"type": "string", "maxLength": 16_384, "pattern": PUBLIC_KEY_PATTERN}),
]
"""A line of an OpenSSH `.pub` or `authorized_keys` file: options, type, key, comment. Certificates are keys too."""

Mac = Annotated[
    str,
    AfterValidator(_mac),
    WithJsonSchema({"type": "string", "pattern": "^(?!00(?::00){5}$)[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}$"}),
]
"""A NIC's MAC address with colons; kept in lower case. Group addresses are refused."""

Ip = Annotated[IPvAnyAddress, BeforeValidator(_written_out)]
"""An IPv4 or IPv6 address."""

Interface = Annotated[IPvAnyInterface, BeforeValidator(_with_prefix)]
"""An address with the prefix length (or netmask) of its network, which must be given."""

Domain = Annotated[
    str,
    StringConstraints(min_length=1, max_length=253),
    AfterValidator(_domain),
    WithJsonSchema({"type": "string", "maxLength": 253, "pattern": f"^{HOST_NAME}$"}),
]
"""A host's or a domain's name: labels of letters, digits and hyphens, with dots between them."""

Network = Annotated[IPvAnyNetwork, BeforeValidator(_written_out)]
"""A network: its first address, and its prefix length (or netmask)."""


class _OnDrive:
    """Base of what an event may say of a drive: unknown fields are refused, input never shows in an error."""

    __slots__ = ()
    __pydantic_config__ = ConfigDict(extra="forbid", hide_input_in_errors=True)


@dataclass(frozen=True, slots=True)
class Route(_OnDrive):
    """A static route."""

    to: Network
    via: Ip


class Ipv6Auto(StrEnum):
    """How a NIC gets IPv6 addresses by router advertisements alone."""

    SLAAC = "slaac"
    STATELESS = "stateless"
    """As `slaac`, and DHCPv6 says the rest, such as name servers."""


@dataclass(frozen=True, slots=True)
class Address(_OnDrive):
    """One IP network of a NIC: `cidr` (address/prefix), `dhcp` with the family, 4 or 6, or `auto`.

    `gateway` becomes the default route on the default NIC, or where no other NIC has one. `on_link`: it answers,
    although it is not in the network of `cidr`.
    """

    cidr: Interface | None = None
    dhcp: Annotated[int, Field(strict=True, json_schema_extra={"enum": [4, 6]})] | None = None
    auto: Ipv6Auto | None = None
    gateway: Ip | None = None
    on_link: StrictBool = False
    routes: Annotated[tuple[Route, ...], Field(max_length=64)] = ()

    @property
    def family(self) -> int:
        """4 or 6."""
        if self.cidr is not None:
            return self.cidr.version
        return 6 if self.auto is not None else int(self.dhcp or 4)


class BondMode(StrEnum):
    """What a bond does with its NICs (Linux, Documentation/networking/bonding)."""

    BALANCE_RR = "balance-rr"
    ACTIVE_BACKUP = "active-backup"
    BALANCE_XOR = "balance-xor"
    BROADCAST = "broadcast"
    LACP = "802.3ad"
    BALANCE_TLB = "balance-tlb"
    BALANCE_ALB = "balance-alb"


class HashPolicy(StrEnum):
    """By what a bond chooses the NIC for a packet."""

    LAYER2 = "layer2"
    LAYER2_3 = "layer2+3"
    LAYER3_4 = "layer3+4"
    ENCAP2_3 = "encap2+3"
    ENCAP3_4 = "encap3+4"


@dataclass(frozen=True, slots=True)
class Bond(_OnDrive):
    """Several NICs as one: `links` are their MAC addresses, and none of them has an entry of its own.

    The bond's own address is that of its entry, often one of theirs. `miimon`: milliseconds between two looks at
    whether they have a link.
    """

    links: Annotated[tuple[Mac, ...], Field(min_length=1, max_length=16)]
    mode: BondMode
    miimon: Annotated[int, Field(ge=1, le=60_000, strict=True)] = 100
    xmit_hash_policy: HashPolicy | None = None


@dataclass(frozen=True, slots=True)
class Vlan(_OnDrive):
    """A VLAN of the NIC or bond whose MAC address is `link`; that has an entry of its own."""

    link: Mac
    id: Annotated[int, Field(ge=1, le=4094, strict=True)]


@dataclass(frozen=True, slots=True)
class Nic(_OnDrive):
    """One network interface: a NIC, or what the guest makes of NICs, a `bond` or a `vlan`.

    `mtu` is in bytes (RFC 791 and the largest jumbo frame are the bounds); without it DHCP or the guest decides. Of
    `addresses` three things can be said: left out, nothing is known; empty, the NIC has none on purpose; or they are
    given. `search` are the domains in which the guest looks for short names.
    """

    mac: Mac
    mtu: Annotated[int, Field(ge=68, le=65_535, strict=True)] | None = None
    default: StrictBool = False
    dns: Annotated[tuple[Ip, ...], Field(max_length=16)] = ()
    addresses: Annotated[tuple[Address, ...], Field(max_length=32)] | None = None
    search: Annotated[tuple[Domain, ...], Field(max_length=6)] = ()
    bond: Bond | None = None
    vlan: Vlan | None = None


@dataclass(frozen=True, slots=True)
class SshKey(_OnDrive):
    """One ssh public key with the name under which cloud-init's metadata lists it."""

    name: OneLine
    key: PublicKey


@dataclass(frozen=True, slots=True)
class Metadata(_OnDrive):
    """The specification's metadata values, those of later readers, and the orchestrator's own in `extra`."""

    availability_zone: OneLine | None = None
    cloud_identifier: OneLine | None = None
    instance_id: OneLine | None = None
    local_hostname: Domain | None = None
    service_offering: OneLine | None = None
    vm_id: OneLine | None = None
    local_ipv4: OneLine | None = None
    public_ipv4: OneLine | None = None
    public_hostname: Domain | None = None
    hypervisor_host_name: OneLine | None = None
    cloud_domain: OneLine | None = None
    cloud_domain_id: OneLine | None = None
    cloud_name: OneLine | None = None
    extra: Annotated[Mapping[OneLine, ExtraValue], Field(max_length=256)] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VmData:
    """All that a drive tells its VM, except the password (which has a life of its own).

    `nics` is `None` when no event named any: then no network file is written at all.
    `label` is the VM's own volume label; `None` takes the fleet's setting. `instance_id` is what cloud-init knows the
    instance by; `None` takes the VM's uuid. `random_seed` (base64) goes into its kernel's pool.
    """

    metadata: Metadata = field(default_factory=Metadata)
    user_data: SecretBytes | None = None
    ssh_keys: tuple[SshKey, ...] = ()
    nics: tuple[Nic, ...] | None = None
    label: str | None = None
    instance_id: str | None = None
    random_seed: str | None = field(default=None, repr=False)
