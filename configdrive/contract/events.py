"""The event contract, version 1: VM lifecycle events as CloudEvents 1.0 in JSON.

Source of the envelope: CloudEvents specification 1.0.2, "JSON Event Format". What routes an event stands in the clear;
what goes on the drive (`data.guest`) is sealed by the publisher into `data.sealed` (`configdrive.contract.sealing`).
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import DEFAULT_REF_TEMPLATE, GenerateJsonSchema
from pydantic_core import PydanticCustomError, to_json

from configdrive.contract.fields import (
    EventIdField,
    HostField,
    HypervisorField,
    InstanceNameField,
    LabelField,
    Providers,
    SealedField,
    SequenceField,
    StorageField,
    TimeField,
    TraceParent,
    UuidField,
    ZoneField,
)
from configdrive.contract.guest_data import GuestData, Strict
from configdrive.contract.json_schema import given, plain
from configdrive.contract.lenient import without_bad
from configdrive.contract.validation import explain
from configdrive.drive_data import OneLine
from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import AttachBy, GuestOs, Presentation, VmDefinition

MAX_EVENT_BYTES = 64 * 2**20
"""Bytes of one event's JSON: the largest user data in base64, sealed and in base64 again, still fits."""

_TYPES = "configdrive.vm."
_SERVICE = "userdata"
_PROVIDER = "configdrive"


class Apply(StrEnum):
    """When a change reaches the guest: with its next start, or by exchanging the medium at once."""

    NEXT_START = "next_start"
    NOW = "now"


class MigratePhase(StrEnum):
    """The phases of a migration; an event without phase means `complete`."""

    PREPARE = "prepare"
    COMPLETE = "complete"
    ROLLBACK = "rollback"


class VmField(Strict):
    """Which VM."""

    uuid: UuidField
    instance_name: InstanceNameField


class NetworkOffering(Strict):
    """The network offering's service → provider map, as CloudStack has it (`UserData` → `ConfigDrive`)."""

    name: OneLine | None = None
    services: Annotated[dict[OneLine, Providers], Field(max_length=64)]

    @property
    def names_config_drive(self) -> bool:
        """Whether ConfigDrive provides the UserData service (specification: "use case", "CS Admin" work flow)."""
        return any(
            provider.lower() == _PROVIDER
            for service, providers in self.services.items()
            for provider in providers
            if service.lower() == _SERVICE
        )


class EventData(Strict):
    """What every event carries. `host` may be left out where an earlier event has said it, and so may `guest_os`."""

    sequence: SequenceField
    vm: VmField
    hypervisor: HypervisorField
    host: HostField | None = None
    zone: ZoneField | None = None
    primary_storage: StorageField | None = None
    attach: AttachBy | None = None
    presentation: Presentation | None = None
    guest_os: GuestOs | None = None
    definition: VmDefinition | None = None


_BOTH: Final[dict[str, JsonValue]] = {"allOf": [given("guest", "object"), given("sealed", "string")]}
_PASSWORD: Final = {key: value for key, value in given("password", "string").items() if key != "type"}


class GuestEventData(EventData):
    """What events that can change the drive's content carry besides: `guest` in the clear, or `sealed`.

    `lenient`: a bad value in `guest` is left out, and the rest arrives; never user data or a password. `left_out` is
    written by who leaves it out: which fields, and why.
    """

    model_config = ConfigDict(json_schema_extra={"not": _BOTH})

    network_offering: NetworkOffering | None = None
    password_enabled: StrictBool | None = None
    label: LabelField | None = None
    guest: GuestData | None = None
    sealed: SealedField | None = None
    lenient: StrictBool = False
    left_out: Annotated[tuple[OneLine, ...], Field(max_length=512)] = ()

    @model_validator(mode="after")
    def _clear_or_sealed(self) -> Self:
        if self.guest is not None and self.sealed is not None:
            code = "one_of"
            raise PydanticCustomError(code, "give 'guest' or 'sealed', not both")
        return self


class DeployData(GuestEventData):
    """`start`: attach at once, for a VM that is powered on right after."""

    host: HostField
    start: StrictBool = False


class StartData(GuestEventData):
    """The VM is about to be powered on (or runs already).

    `ensure`: the sequence of an earlier `start` of this VM, whose drive it is to have. If that is the newest that was
    made, it is put in where it is missing, and nothing is made anew; otherwise this is a start like any other.
    """

    host: HostField
    ensure: SequenceField | None = None


class StopData(EventData):
    """`booted`: whether the start before this stop succeeded; when it did not, a password stays pending."""

    booted: StrictBool = True


class MigrateData(EventData):
    """`host` is where the VM runs before the migration, `destination` where it shall run."""

    phase: MigratePhase = MigratePhase.COMPLETE
    destination: HostField


class PasswordResetData(GuestEventData):
    """A new password, for the next start or at once. Sealed, its presence is checked when the box is opened."""

    model_config = ConfigDict(
        json_schema_extra={"not": _BOTH, "anyOf": [given("sealed", "string"), given("guest", "object", **_PASSWORD)]}
    )

    apply: Apply = Apply.NEXT_START

    @model_validator(mode="after")
    def _has_password(self) -> Self:
        if self.sealed is None and (self.guest is None or self.guest.password is None):
            code = "missing"
            raise PydanticCustomError(code, "needs 'guest.password'")
        return self


class UpdateData(GuestEventData):
    """New content, for the next start or at once. `password_delivered`: the guest has taken the password, remove it."""

    apply: Apply = Apply.NEXT_START
    password_delivered: StrictBool = False


class DestroyData(EventData):
    """The VM is gone for good."""


class Event(Strict):
    """The CloudEvents envelope. Unknown attributes are extensions: allowed by the specification and ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    specversion: Literal["1.0"] = "1.0"
    id: EventIdField
    source: OneLine
    subject: UuidField | None = None
    time: TimeField = Field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    datacontenttype: Literal["application/json"] = "application/json"
    traceparent: TraceParent | None = None
    data: EventData

    @model_validator(mode="after")
    def _about_its_vm(self) -> Self:
        if self.subject not in {None, self.data.vm.uuid}:
            code = "subject"
            raise PydanticCustomError(code, "'subject' differs from 'data.vm.uuid'; give the same uuid or leave it out")
        return self


class DeployEvent(Event):
    """The VM was created; its drive shall lie on the primary storage of its root disk."""

    type: Literal["configdrive.vm.deploy.v1"] = "configdrive.vm.deploy.v1"
    data: DeployData


class StartEvent(Event):
    """The VM starts: a fresh drive is attached."""

    type: Literal["configdrive.vm.start.v1"] = "configdrive.vm.start.v1"
    data: StartData


class StopEvent(Event):
    """The VM was stopped: its drive goes."""

    type: Literal["configdrive.vm.stop.v1"] = "configdrive.vm.stop.v1"
    data: StopData


class MigrateEvent(Event):
    """The VM moves to another host: its drive follows."""

    type: Literal["configdrive.vm.migrate.v1"] = "configdrive.vm.migrate.v1"
    data: MigrateData


class PasswordResetEvent(Event):
    """The VM's password was reset: the next start delivers it."""

    type: Literal["configdrive.vm.password_reset.v1"] = "configdrive.vm.password_reset.v1"
    data: PasswordResetData


class UpdateEvent(Event):
    """User data, ssh keys, metadata or label changed."""

    type: Literal["configdrive.vm.update.v1"] = "configdrive.vm.update.v1"
    data: UpdateData


class DestroyEvent(Event):
    """The VM was destroyed: drive and state go."""

    type: Literal["configdrive.vm.destroy.v1"] = "configdrive.vm.destroy.v1"
    data: DestroyData


ContentEvent = DeployEvent | StartEvent | PasswordResetEvent | UpdateEvent
"""The events that may say what is on the drive."""

LifecycleEvent = Annotated[ContentEvent | StopEvent | MigrateEvent | DestroyEvent, Field(discriminator="type")]

_ADAPTER: TypeAdapter[ContentEvent | StopEvent | MigrateEvent | DestroyEvent] = TypeAdapter(LifecycleEvent)


SHORT_TYPES = ("deploy", "start", "stop", "migrate", "password_reset", "update", "destroy")
"""The types of events by their short words."""


def short_type(event_type: str) -> str:
    """Return `deploy` for `configdrive.vm.deploy.v1`: the word for people, metrics and Flower."""
    return event_type.removeprefix(_TYPES).rpartition(".")[0] or event_type


def parse(raw: str | bytes) -> LifecycleEvent:
    """Read one event from its JSON; of a lenient one without the bad values in its `guest`.

    Raises:
        PermanentError: `INVALID_EVENT` or `CONTENT_TOO_LARGE`; the detail names the field, never its value.
    """
    text = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    if len(text) > MAX_EVENT_BYTES:
        raise too_large(len(text))
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as error:
        problem = explain(error)
    lenient = _leniently(text)
    if lenient is None:
        raise problem
    try:
        return _ADAPTER.validate_json(lenient)
    except ValidationError as error:
        problem = explain(error)
    raise problem


def _leniently(text: bytes) -> bytes | None:
    """Return a lenient event without what can be left out of it; `None` when it is none, or there is nothing."""
    with suppress(ValueError, RecursionError):
        event = json.loads(text)  # which takes lone surrogates, so that one costs its own value only
        data = event.get("data") if isinstance(event, dict) else None
        if not isinstance(data, dict) or data.get("lenient") is not True or not isinstance(data.get("guest"), dict):
            return None
        data["guest"], left = without_bad(data["guest"])
        data["left_out"] = list(left)
        return to_json(event) if left else None
    return None


def too_large(size: int) -> PermanentError:
    """Return the refusal of an event whose JSON has `size` bytes."""
    detail = f"event: has {size} bytes, the limit is {MAX_EVENT_BYTES}"
    remedy = "keep large content elsewhere and let the user data fetch it"
    return PermanentError(PermanentCode.CONTENT_TOO_LARGE, detail, remedy)


_EXAMPLE_VM: Final[dict[str, JsonValue]] = {
    "uuid": "6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10",
    "instance_name": "i-2-14-VM",
}
_EXAMPLE_DATA: Final[dict[str, dict[str, JsonValue]]] = {
    "deploy": {
        "host": "kvm-01",
        "primary_storage": "primary",
        "guest": {
            "metadata": {"local_hostname": "web-1", "extra": {"team": "blue"}},
            "user_data": {"text": "#!/bin/sh\necho hello\n"},
            "nics": [
                {"mac": "02:00:5e:10:00:01", "addresses": [{"cidr": "192.0.2.14/24", "gateway": "192.0.2.1"}]},
            ],
        },
    },
    "start": {"host": "kvm-01"},
    "stop": {},
    "migrate": {"phase": "prepare", "destination": "kvm-02"},
    "password_reset": {"guest": {"password": "correct horse"}, "apply": "now"},
    "update": {"label": "config-2"},
    "destroy": {},
}

EXAMPLES: Final[list[JsonValue]] = [
    {
        "specversion": "1.0",
        "id": f"example-{sequence}",
        "source": "orchestrator/1",
        "time": "2026-03-10T07:13:00Z",
        "type": f"{_TYPES}{word}.v1",
        "data": {"sequence": sequence, "vm": _EXAMPLE_VM, "hypervisor": "kvm", **data},
    }
    for sequence, (word, data) in enumerate(_EXAMPLE_DATA.items(), 1)
]
"""An event of each type, as a publisher writes it."""


def json_schema(ref_template: str = DEFAULT_REF_TEMPLATE) -> dict[str, Any]:
    """Return the contract as JSON Schema (draft 2020-12); `ref_template` says where its definitions will lie."""
    schema = plain(_ADAPTER.json_schema(ref_template=ref_template))
    for event in Event.__subclasses__():  # the default of `type` is for Python: in JSON, it alone says which event
        schema["$defs"][event.__name__]["required"].append("type")
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        "$id": "urn:configdrive-fleet:event:1",
        "title": "configdrive-fleet VM lifecycle event, version 1",
        "examples": EXAMPLES,
        **schema,
    }
