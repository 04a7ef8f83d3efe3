"""The doctor of the connection to CloudStack: keys, rights, clocks, bus, webhook secret, gate. Changes nothing.

Rights are tried by calling: a role of CloudStack's may allow each call by itself
(`DynamicRoleBasedAPIAccessChecker.java`). What only the role's *type* decides is looked for in an answer: instance
names and hosts are shown to the type Admin alone (`UserVmJoinDaoImpl.java`, the full view).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from amqp.exceptions import AMQPError
from kombu.exceptions import OperationalError

from configdrive.errors import FleetError, PermanentCode
from configdrive.ports import Check
from workers.cloudstack import json_values
from workers.cloudstack.amqp import connection_to, distrust
from workers.cloudstack.api import Api
from workers.cloudstack.certificates import serving
from workers.cloudstack.gate_tokens import GateTokens
from workers.cloudstack.wiring import make_api
from workers.config.cloudstack import CloudStackSettings, DrivesFor, StartAt
from workers.config.secret_files import read_secret

NEEDED: Final[Mapping[str, Mapping[str, str]]] = {
    "listCapabilities": {},
    "listVirtualMachines": {"listall": "true", "page": "1", "pagesize": "1"},
    "listNetworks": {"listall": "true"},
    "listZones": {},
    "listVolumes": {"listall": "true", "page": "1", "pagesize": "1"},
    "getVirtualMachineUserData": {"virtualmachineid": ""},
    "queryAsyncJobResult": {"jobid": ""},
}
"""The calls that the adapter and the gate make: all that their role has to allow."""

_ROLE: Final = "allow it in the role of cloudstack.key_file's user: docs/how-to/cloudstack.md lists all that it needs"
_REFUSED: Final = (OSError, OperationalError, AMQPError)
_SKEW_SECONDS: Final = 60.0
_CONNECT_SECONDS: Final = 3.0


def diagnose(settings: CloudStackSettings) -> Iterator[Check]:
    """Look at everything that the adapter and the gate need, but for the fleet itself. Raises nothing."""
    try:
        api = make_api(settings)
    except FleetError as error:
        yield Check("cloudstack", ok=False, detail=error.detail, remedy=error.remedy)
    else:
        yield from _rights(api, settings)
        yield _clock(api)
    yield from _bus(settings)
    yield from _webhook(settings)
    yield from _gate(settings)


def _rights(api: Api, settings: CloudStackSettings) -> Iterator[Check]:
    for command, parameters in NEEDED.items():
        given = {name: value or str(uuid.uuid4()) for name, value in parameters.items()}
        subject = f"cloudstack {command}"
        try:
            answer = api.call(command, **given) or {}
        except FleetError as error:
            remedy = _ROLE if error.code is PermanentCode.ACCESS_DENIED and command != "listCapabilities" else ""
            yield Check(subject, ok=False, detail=error.detail, remedy=remedy or error.remedy)
            if command == "listCapabilities":
                return
            continue
        yield from _seen(subject, answer, settings)


def _seen(subject: str, answer: json_values.Document, settings: CloudStackSettings) -> Iterator[Check]:
    """Say what an answer shows that it should, and does not."""
    for vm in json_values.documents(answer.get("virtualmachine")):
        if json_values.text(vm.get("instancename")) is None:
            remedy = "give the user a role of the type Admin: no other sees instance names and hosts"
            yield Check(subject, ok=False, detail="VMs are shown without their instance names", remedy=remedy)
            return
    if settings.drives_for is DrivesFor.ALL:
        for network in json_values.documents(answer.get("network")):
            if _has_own_provider(network):
                name = json_values.text(network.get("name")) or "?"
                detail = f"network {name!r} has ConfigDrive for UserData: CloudStack attaches a drive of its own"
                yield Check(subject, ok=False, detail=detail, remedy="take that provider out of its network offering")
                return
    yield Check(subject, ok=True, detail="allowed")


def _has_own_provider(network: json_values.Document) -> bool:
    return any(
        service.get("name") == "UserData" and provider.get("name") == "ConfigDrive"
        for service in json_values.documents(network.get("service"))
        for provider in json_values.documents(service.get("provider"))
    )


def _clock(api: Api) -> Check:
    subject = "cloudstack clock"
    if api.ahead is None:
        return Check(subject, ok=True, detail="CloudStack does not say what time it is")
    detail = f"CloudStack's clock is {api.ahead:+.0f} s from ours"
    remedy = "let both machines keep time by NTP: signed calls expire, and notices have times"
    return Check(subject, ok=abs(api.ahead) <= _SKEW_SECONDS, detail=detail, remedy=remedy)


def _bus(settings: CloudStackSettings) -> Iterator[Check]:
    if settings.amqp_url is None:
        yield Check("cloudstack bus", ok=True, detail="no amqp_url: passwords and states come by a bus only")
        return
    try:
        connection = connection_to(
            settings.amqp_url.get_secret_value(), settings.amqp_ca_file, seconds=_CONNECT_SECONDS
        )
    except FleetError as error:
        yield Check("cloudstack bus", ok=False, detail=error.detail, remedy=error.remedy)
        return
    try:
        connection.connect()
    except _REFUSED as error:
        why, _, remedy = (distrust(error) or "").partition("; ")
        detail = f"RabbitMQ: {why}" if why else f"RabbitMQ refuses us ({type(error).__name__})"
        remedy = remedy or "see cloudstack.amqp_url: its host, login and virtual host"
        yield Check("cloudstack bus", ok=False, detail=detail, remedy=remedy)
    else:
        yield Check("cloudstack bus", ok=True, detail="RabbitMQ takes our login")
    finally:
        with suppress(OSError, OperationalError):
            connection.release()


def _webhook(own: CloudStackSettings) -> Iterator[Check]:
    if own.webhook_secret_file is None:
        return
    try:
        read_secret(own.webhook_secret_file, "cloudstack.webhook_secret_file")
    except FleetError as error:
        yield Check("cloudstack webhook", ok=False, detail=error.detail, remedy=error.remedy)
    else:
        yield _certified("cloudstack webhook", "has its secret", own.webhook_certificate, own.webhook_certificate_key)


def _certified(subject: str, detail: str, *files: Path | None) -> Check:
    """Say what is well, if the certificate of its server is."""
    certificate, key = files
    try:
        serving(None if certificate is None or key is None else (certificate, key))
    except FleetError as error:
        return Check(subject, ok=False, detail=error.detail, remedy=error.remedy)
    return Check(subject, ok=True, detail=detail)


def _gate(settings: CloudStackSettings) -> Iterator[Check]:
    subject = "cloudstack gate"
    if settings.gate_tokens_file is None:
        detail = "no gate_tokens_file: on KVM drives come a moment after the power-on"
        yield Check(subject, ok=True, detail=detail)
        return
    try:
        hosts = GateTokens(settings.gate_tokens_file).hosts
    except FleetError as error:
        yield Check(subject, ok=False, detail=error.detail, remedy=error.remedy)
        return
    if settings.start_at is StartAt.STARTING:
        detail = "start_at is 'starting': the adapter would publish starts of VMs that no KVM host knows yet"
        yield Check(subject, ok=False, detail=detail, remedy="leave start_at at 'running'")
        return
    known = f"knows the hosts {', '.join(sorted(hosts)) or 'none yet'}"
    yield _certified(subject, known, settings.gate_certificate, settings.gate_certificate_key)
