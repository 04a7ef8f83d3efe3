"""The table `[cloudstack]` of the settings; in the environment `CONFIGDRIVE_CLOUDSTACK__<NAME>`.

No secret stands in it, but for the bus' login in `amqp_url`: the others are files.
"""

from __future__ import annotations

from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from pydantic_core import PydanticCustomError

from configdrive.contract.fields import HostField

_HERE = frozenset({"localhost", "127.0.0.1", "::1"})


def _safe(url: str) -> str:
    """Refuse what would show user data and passwords to the network."""
    parts = urlsplit(url)
    if parts.scheme == "https" or parts.hostname in _HERE:
        return url
    code = "url"
    raise PydanticCustomError(code, "needs https://, or CloudStack's answers could be read, and changed, on the way")


def _bus(url: SecretStr) -> SecretStr:
    """Refuse what kombu would take for another transport's address, or would trip over."""
    parts = urlsplit(url.get_secret_value())
    with suppress(ValueError):  # of the port: a password with a '/' in it looks like one
        if parts.scheme in {"amqp", "amqps"} and parts.hostname and parts.port != 0:
            return url
    code = "amqp_url"
    text = "begins with amqps:// or amqp:// and names a host; in a password, what is no letter or digit is written %XX"
    raise PydanticCustomError(code, text)


class StartAt(StrEnum):
    """From which state on a VM has its drive."""

    RUNNING = "running"
    STARTING = "starting"


class DrivesFor(StrEnum):
    """Which VMs have a drive."""

    OFFERING = "offering"
    ALL = "all"


class CloudStackSettings(BaseModel):
    """Settings of `configdrive cloudstack`; nothing else needs them."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: Annotated[str, Field(pattern=r"^https?://[^@\s?#]+$"), AfterValidator(_safe)] | None = None
    """CloudStack's API, `https://cloudstack.example/client/api`. `http` only to this machine itself."""

    key_file: Path | None = None
    """A file with an administrator's API key on its first line and the secret key on its second; not for others to
    read. Only a root admin sees instance names and hosts."""

    ca_file: Path | None = None
    """The authority that has signed the API's certificate. None: those that the system trusts."""

    call_seconds: Annotated[float, Field(gt=0, le=60)] = 3.0
    """Time limit of one call. A notice needs up to four and CloudStack waits ten seconds for a webhook's answer."""

    hosts: dict[str, HostField] = Field(default_factory=dict)
    """CloudStack's name of a host -> its name in the inventory, for those that are called otherwise there."""

    start_at: StartAt = StartAt.RUNNING
    """When a VM gets its drive. `running`: once it has power, which always works: on KVM and XenServer there is no VM
    before. `starting`: before that, for hypervisors that know a VM while it is off."""

    drives_for: DrivesFor = DrivesFor.OFFERING
    """Which VMs get a drive. `offering`: those whose default NIC's network has ConfigDrive as provider of UserData.
    `all`: every VM, where that provider would make CloudStack attach a drive of its own."""

    webhook_secret_file: Path | None = None
    """A file with the webhook's secret key; not for others to read. Without it no webhook is taken."""

    webhook_seconds: Annotated[float, Field(ge=0, le=60)] = 8.0
    """For how long a webhook is kept waiting while Redis or CloudStack's API is away, before it is answered with 503.
    CloudStack waits ten seconds, sends it three times without a pause, and never again."""

    webhook_certificate: Path | None = None
    """The certificate of the webhook's server. None: plain HTTP, for a proxy on this machine that has one."""

    webhook_certificate_key: Path | None = None
    """Its private key."""

    gate_tokens_file: Path | None = None
    """The file with the hashed tokens of the hosts that may ask the gate (`configdrive cloudstack gate-token`)."""

    gate_certificate: Path | None = None
    """The certificate of the gate's server. None: plain HTTP, for a proxy on this machine that has one."""

    gate_certificate_key: Path | None = None
    """Its private key."""

    gate_seconds: Annotated[float, Field(gt=0, le=300)] = 20.0
    """For how long a host that starts a VM is kept waiting at most. Its hook has a limit of its own."""

    amqp_url: Annotated[SecretStr, AfterValidator(_bus)] | None = None
    """RabbitMQ, `amqps://user:password@rabbit.example:5671/vhost`; `amqp://` without TLS. Never shown."""

    amqp_ca_file: Path | None = None
    """The authority that has signed RabbitMQ's certificate. None: those that the system trusts."""

    amqp_exchange: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,127}$")] = "cloudstack-events"
    """The durable topic exchange on which CloudStack publishes."""

    amqp_queue: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,127}$")] = "configdrive"
    """The durable queue in which its events wait for the adapter; made, and bound, when it is missing."""
