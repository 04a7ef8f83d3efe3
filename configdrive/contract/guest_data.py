"""What an event says about the content of the drive: the part of an event that travels sealed.

A field that is absent leaves what is known already; `null` removes it.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretBytes,
    SecretStr,
    SerializationInfo,
    StrictBool,
    StringConstraints,
    field_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from configdrive.contents.render import check
from configdrive.contract.fields import ExtraKey, InterfaceField, IpField, MacField, MultiLine, NetworkField, OneLine
from configdrive.errors import PermanentError
from configdrive.model import Address, Metadata, Nic, Route, SshKey, VmData

MAX_USER_DATA = 32 * 2**20
"""Bytes of user data that one event may carry, decoded. Half of the largest image; CloudStack itself stops at 1 MiB."""

_PUBLIC_KEY = re.compile(
    r"(ssh-(rsa|dss|ed25519)|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
    r" [A-Za-z0-9+/]{16,}={0,2}( [^\x00-\x1f\x7f]*)?",
)


class Strict(BaseModel):
    """Base of all contract models: unknown fields are refused, input never shows in an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _decodable(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if len(text) > MAX_USER_DATA * 4 // 3 + 4:
        raise _too_large()
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        code = "base64"
        raise PydanticCustomError(code, "is not base64; encode the bytes by RFC 4648, without line breaks") from None
    return value


def _small_enough(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value().encode("utf-8", "surrogatepass")) > MAX_USER_DATA:
        raise _too_large()
    return value


def _too_large() -> PydanticCustomError:
    code = "content_too_large"
    return PydanticCustomError(
        code,
        "is larger than {mib} MiB; keep large content elsewhere and let the user data fetch it",
        {"mib": MAX_USER_DATA // 2**20},
    )


def _reveal(value: SecretStr | None, info: SerializationInfo) -> str | None:
    if value is None:
        return None
    context: dict[str, Any] = info.context or {}
    return value.get_secret_value() if context.get("reveal") else str(value)


class UserData(Strict):
    """User data, as text or as base64 of any bytes; exactly one of the two."""

    text: Annotated[SecretStr, AfterValidator(_small_enough)] | None = None
    base64: Annotated[SecretStr, AfterValidator(_decodable)] | None = None

    _show = field_serializer("text", "base64")(_reveal)

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.text is None) == (self.base64 is None):
            code = "one_of"
            raise PydanticCustomError(code, "needs exactly one of 'text' and 'base64'")
        return self

    def content(self) -> SecretBytes:
        """Return the bytes that stand on the drive."""
        if self.base64 is not None:
            return SecretBytes(base64.b64decode(self.base64.get_secret_value()))
        text = self.text.get_secret_value() if self.text is not None else ""
        return SecretBytes(text.encode("utf-8"))


Password = Annotated[SecretStr, Field(min_length=1, max_length=256)]
"""A guest password: one line of 1 to 256 characters."""


def _public_key(value: str) -> str:
    line = value.strip()
    if not _PUBLIC_KEY.fullmatch(line):
        code = "ssh_public_key"
        raise PydanticCustomError(
            code,
            "is not an OpenSSH public key line ('ssh-ed25519 AAAA… comment'); give the content of the .pub file",
        )
    return line


class SshKeyField(Strict):
    """One ssh public key with the name under which cloud-init's metadata lists it."""

    name: OneLine
    key: Annotated[str, StringConstraints(max_length=16_384), AfterValidator(_public_key)]


def _named_keys(value: object) -> object:
    """Give keys that came as plain lines a name."""
    if not isinstance(value, list):
        return value
    return [
        {"name": f"key-{index}", "key": item} if isinstance(item, str) else item for index, item in enumerate(value, 1)
    ]


SshKeys = Annotated[
    tuple[SshKeyField, ...],
    Field(max_length=64),
    BeforeValidator(_named_keys, json_schema_input_type=Annotated[tuple[SshKeyField | str, ...], Field(max_length=64)]),
]
"""ssh public keys, each with its name or as a plain line."""


class RouteField(Strict):
    """A static route."""

    to: NetworkField
    via: IpField


class AddressField(Strict):
    """One IP network of a NIC: `cidr` (address/prefix), or `dhcp` with the family, 4 or 6."""

    cidr: InterfaceField | None = None
    dhcp: Annotated[int, Field(strict=True)] | None = None
    gateway: IpField | None = None
    routes: Annotated[tuple[RouteField, ...], Field(max_length=64)] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.cidr is None) == (self.dhcp is None):
            code = "one_of"
            raise PydanticCustomError(code, "needs exactly one of 'cidr' and 'dhcp'")
        if self.dhcp not in {None, 4, 6}:
            code = "family"
            raise PydanticCustomError(code, "'dhcp' is the family: 4 or 6")
        others = [self.gateway, *(part for route in self.routes for part in (route.to, route.via))]
        if any(other is not None and other.version != self.family for other in others):
            code = "family"
            raise PydanticCustomError(code, "mixes IPv4 and IPv6; give each family an entry of its own")
        return self

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.cidr.version if self.cidr is not None else int(self.dhcp or 4)

    def to_model(self) -> Address:
        """Return the domain's form."""
        interface: IPv4Interface | IPv6Interface | None = self.cidr
        return Address(
            family=self.family,
            address=None if interface is None else str(interface.ip),
            prefix=None if interface is None else interface.network.prefixlen,
            gateway=None if self.gateway is None else str(self.gateway),
            routes=tuple(
                Route(str(route.to.network_address), route.to.prefixlen, str(route.via)) for route in self.routes
            ),
        )


class NicField(Strict):
    """One network interface. `mtu` is in bytes (RFC 791 and the largest jumbo frame are the bounds)."""

    mac: MacField
    mtu: Annotated[int, Field(ge=68, le=65_535, strict=True)] = 1500
    default: StrictBool = False
    dns: Annotated[tuple[IpField, ...], Field(max_length=16)] = ()
    addresses: Annotated[tuple[AddressField, ...], Field(max_length=32)] = ()

    def to_model(self) -> Nic:
        """Return the domain's form."""
        return Nic(
            mac=self.mac,
            addresses=tuple(address.to_model() for address in self.addresses),
            mtu=self.mtu,
            default=self.default,
            dns=tuple(str(server) for server in self.dns),
        )


class MetadataField(Strict):
    """The seed's metadata values, those of later readers, and the orchestrator's own in `extra`."""

    availability_zone: OneLine | None = None
    cloud_identifier: OneLine | None = None
    instance_id: OneLine | None = None
    local_hostname: OneLine | None = None
    service_offering: OneLine | None = None
    vm_id: OneLine | None = None
    local_ipv4: OneLine | None = None
    public_ipv4: OneLine | None = None
    public_hostname: OneLine | None = None
    hypervisor_host_name: OneLine | None = None
    cloud_domain: OneLine | None = None
    cloud_domain_id: OneLine | None = None
    cloud_name: OneLine | None = None
    extra: Annotated[dict[ExtraKey, MultiLine], Field(max_length=256)] = Field(default_factory=dict)

    def to_model(self) -> Metadata:
        """Return the domain's form."""
        return Metadata(**{**self.model_dump(exclude={"extra"}), "extra": tuple(sorted(self.extra.items()))})


class GuestData(Strict):
    """All that an event says about the drive's content."""

    metadata: MetadataField | None = None
    user_data: UserData | None = None
    ssh_keys: SshKeys | None = None
    nics: Annotated[tuple[NicField, ...], Field(max_length=64)] | None = None
    password: Password | None = None

    _show = field_serializer("password")(_reveal)

    @model_validator(mode="after")
    def _fit_for_a_drive(self) -> Self:
        """Refuse at the door what no drive could be built from; the size is checked when it is."""
        small = self.model_copy(update={"user_data": None})
        try:
            check(small.merged_into(VmData()), self.password)
        except PermanentError as error:
            problem = f"{error.detail}; {error.remedy}"
        else:
            return self
        code = "content"
        raise PydanticCustomError(code, "{problem}", {"problem": problem})

    def plaintext(self) -> bytes:
        """Return the JSON that is sealed: only what was given, secrets revealed. Must not be logged or stored."""
        return self.model_dump_json(exclude_unset=True, context={"reveal": True}).encode()

    def merged_into(self, known: VmData) -> VmData:
        """Return `known` with every field that this event names; metadata is taken as a whole."""
        changed: dict[str, Any] = {}
        given = self.model_fields_set
        if "metadata" in given:
            changed["metadata"] = self.metadata.to_model() if self.metadata else Metadata()
        if "user_data" in given:
            changed["user_data"] = self.user_data.content() if self.user_data else None
        if "ssh_keys" in given:
            changed["ssh_keys"] = tuple(SshKey(key.name, key.key) for key in self.ssh_keys or ())
        if "nics" in given:
            changed["nics"] = None if self.nics is None else tuple(nic.to_model() for nic in self.nics)
        return replace(known, **changed)
