"""The inventory's `[vmware]` table: its fields, their limits, and the error that names the wrong one with the remedy.

[vmware.endpoints.vc-01]
server = "vc-01.example"
username = "configdrive@vsphere.local"
password = {file = "/run/secrets/vc-01"}
ca_file = "/etc/configdrive/vmca.pem"

[vmware.hosts.esx-01]
endpoint = "vc-01"
esxi = "esx-01.example"
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, SecretStr, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from workers.driverkit.tables import Address, Name, Table, parse_section

if TYPE_CHECKING:
    from collections.abc import Mapping

_Fingerprint = Annotated[
    str, StringConstraints(pattern=r"^(?:sha256:)?(?:[0-9A-Fa-f]{64}|(?:[0-9A-Fa-f]{2}:){31}[0-9A-Fa-f]{2})$")
]
_Slot = Annotated[str, StringConstraints(pattern=r"^(?:ide:[01]:[01]|sata:[0-3]:(?:[12]?[0-9])|sata)$")]


class Transfer(StrEnum):
    """How an image file is let in.

    `session`: with the session's own cookie. `ticket`: with a ticket for that one request, which a vCenter may make for
    an ESXi host, so that the file does not go through the vCenter; one call more for each file.
    """

    SESSION = "session"
    TICKET = "ticket"


class Identity(StrEnum):
    """By what a VM is known. A name says nothing of whose VM it is: only for clouds that set neither uuid."""

    BIOS_UUID = "bios_uuid"
    INSTANCE_UUID = "instance_uuid"
    NAME = "name"


class Placement(StrEnum):
    """Where on a datastore the images of VMs lie.

    `folder`: all in one folder of the fleet's. `vm-directory`: each in the directory of its VM's configuration, which
    vSAN and vVols have for every VM. A VM that is not there yet, or whose orchestrator inserts the image, has its image
    in the folder.
    """

    FOLDER = "folder"
    VM_DIRECTORY = "vm-directory"


class EndpointTable(Table):
    """`[vmware.endpoints.<name>]`: a vCenter, or an ESXi host without one.

    Args:
        server: name or address, as in its certificate.
        port: TCP.
        username: whose role has the privileges of `deploy/vsphere/privileges.txt`.
        password: stands in a file or in the environment: `{file = ...}` or `{env = ...}`.
        ca_file: PEM file of the CA that signed the server's certificate. Left out: the system's CAs.
        fingerprint: SHA-256 of the server's own certificate, instead of a CA.
        verify_tls: off, the password goes to whoever answers; each start warns of it.
        connections: to this server, per worker process, at most; one session each process. More threads than these
            wait for one: with a `concurrency` above it, raise it.
        transfer: see `Transfer`.
    """

    server: Address
    port: int = Field(default=443, ge=1, le=65_535)
    username: Name
    password: SecretStr
    ca_file: Path | None = None
    fingerprint: _Fingerprint | None = None
    verify_tls: bool = True
    connections: int = Field(default=4, ge=1, le=64)
    transfer: Transfer = Transfer.SESSION

    @model_validator(mode="after")
    def _one_trust(self) -> Self:
        if self.ca_file is not None and self.fingerprint is not None:
            code = "trust"
            raise PydanticCustomError(code, "give ca_file or fingerprint, not both")
        return self


class HostTable(Table):
    """`[vmware.hosts.<name>]`: what events call a host.

    Args:
        endpoint: which of the endpoints knows it.
        datacenter: its name there, where names of clusters, hosts or datastores repeat in others.
        esxi: the host's name there: VMs on other hosts are not this host's. Where DRS moves VMs without an event, name
            the cluster instead, or neither for all that the endpoint, or the datacenter, has.
        cluster: the cluster's name there. A name of any of these may be an inventory path as well:
            `/datacenter/host/cluster`, `/datacenter/datastore/name`.
        fallback_datastore: takes the images of VMs whose root disk lies on a datastore that only one host sees. All
            hosts to which VMs may move should see it: a VM does not move while its drive holds an image that the other
            host cannot read. Left out: images lie beside the root disk, and when a VM leaves a datastore behind, its
            drive is empty while it moves.
        placement: see `Placement`. Left out: `vm-directory` on datastores that let nobody make a folder at the top
            (vSAN, vVols), `folder` on all others.
        cd_slots: the places in which the config drive may be, the first choice first: `ide:<bus>:<unit>`,
            `sata:<bus>:<unit>`, or `sata` for any unit there, on a new controller if need be. Left out: never `ide:1:0`
            and `sata:0:0`, where users have their own ISOs. A running VM takes another drive on SATA only.
        identify_by: see `Identity`; tried in this order.
    """

    endpoint: Name
    datacenter: Name | None = None
    esxi: Name | None = None
    cluster: Name | None = None
    fallback_datastore: Name | None = None
    placement: Placement | None = None
    cd_slots: tuple[_Slot, ...] = Field(default=("ide:1:1", "ide:0:1", "ide:0:0", "sata"), min_length=1, max_length=16)
    identify_by: tuple[Identity, ...] = Field(
        default=(Identity.BIOS_UUID, Identity.INSTANCE_UUID), min_length=1, max_length=3
    )

    @model_validator(mode="after")
    def _one_scope(self) -> Self:
        if self.esxi is not None and self.cluster is not None:
            code = "scope"
            raise PydanticCustomError(code, "give esxi or cluster, not both")
        return self


class Section(Table):
    """The whole table: at least one endpoint and one host."""

    endpoints: dict[Name, EndpointTable] = Field(min_length=1)
    hosts: dict[Name, HostTable] = Field(min_length=1)

    @model_validator(mode="after")
    def _endpoints_are_known(self) -> Self:
        for name, host in self.hosts.items():
            if host.endpoint not in self.endpoints:
                code = "endpoint"
                raise PydanticCustomError(
                    code, "host {name} names the endpoint {endpoint}, which is not there",
                    {"name": repr(name), "endpoint": repr(host.endpoint)},
                )  # fmt: skip
        return self


def parse(section: Mapping[str, object]) -> Section:
    """Read the table.

    Raises:
        PermanentError: `MISCONFIGURED`, with the first wrong field and what is wrong with it.
    """
    return parse_section(Section, "vmware", section)
