"""The outcome of one event: the one record that operators, orchestrators, Flower and the outcome stream all see."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from pydantic import JsonValue, TypeAdapter
from pydantic.json_schema import DEFAULT_REF_TEMPLATE, GenerateJsonSchema

from configdrive.contract.event_key import event_key
from configdrive.contract.json_schema import plain
from configdrive.model import EventKey


class Status(StrEnum):
    """How an event ended. All but `PARKED` are final."""

    APPLIED = "applied"
    """What the event means is true now. With the code `host_unreachable`, all but what a host that is away has."""

    NOT_APPLICABLE = "not_applicable"
    """Nothing was to be done: the network offering names another provider, or the template takes no password."""

    DROPPED = "dropped"
    """The event is of the past, so it was not done: the code says how."""

    SKIPPED = "skipped"
    """An operator gave it up by `configdrive skip`."""

    REJECTED = "rejected"
    """It waited in the mailbox and turned out to be no event that can ever be worked on."""

    PARKED = "parked"
    """It needs an operator. It stays at the head of its VM's mailbox, and the VM's next events wait behind it, until
    `configdrive retry` or `configdrive skip`; a `stop` or `destroy` goes through. With the code `host_unreachable`,
    `storage_unavailable`, `deferred` or `saturated` it goes on by itself when the host or storage is back."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one event, or its parking.

    Args:
        event_id: of the event, with `source`: neither alone says which event it is.
        source: where the event comes from, as its publisher wrote it.
        status: how it ended.
        code: the stable word for the cause when it was not simply applied (`configdrive.errors`).
        detail: one sentence for people; never a secret.
        remedy: what to do about it.
        attempts: how many times it was tried.
        at: when, in seconds since 1970 UTC.
        facts: what was reached: `attach`, `device`, `path`, `xml`, `storage`, `generation`, `password`, `left_behind`,
            `seen_as` (`cdrom` or `disk`), `needs` (`xen_drivers`, `virtio_scsi`, `usb_storage` or `ahci_hot_add` in the
            guest, `stop_and_start`, or `cd_at_power_on`: Windows mounts no USB disk), `borrowed` (the VM's own drive
            that has the image while it runs), `remarks` (what is not on the drive, or will not work there, as one may
            expect), `left_out` (of a lenient event: which values, and why); on vSphere and KVM `bus` (of the drive), on
            KVM `xml_controller` (to be defined with it), and of a VM of which nothing is known `xml_ide`, `xml_sata`,
            `xml_scsi` (its element on each bus).
    """

    event_id: str
    source: str
    event_type: str
    vm_uuid: str
    sequence: int
    status: Status
    at: float
    code: str | None = None
    detail: str = ""
    remedy: str = ""
    attempts: int = 1
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> EventKey:
        """The event's key."""
        return event_key(self.source, self.event_id)

    @property
    def final(self) -> bool:
        """Whether nothing more will happen with this event by itself or by an operator."""
        return self.status is not Status.PARKED

    def to_json(self) -> str:
        """Return the outcome as one line of JSON."""
        return _ADAPTER.dump_json(self, exclude_none=True).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Outcome:
        """Read what `to_json` wrote."""
        return _ADAPTER.validate_json(text)


_ADAPTER: TypeAdapter[Outcome] = TypeAdapter(Outcome)


_EXAMPLE_ENDS: Final[tuple[dict[str, JsonValue], ...]] = (
    {"status": "applied", "detail": "", "remedy": "", "facts": {"attach": "inserted", "device": "hdc"}},
    {
        "status": "parked",
        "code": "host_unreachable",
        "detail": "kvm-01: no route to host",
        "remedy": "bring the host back, then run `configdrive retry`",
        "facts": {},
    },
)

EXAMPLES: Final[list[JsonValue]] = [
    {
        "event_id": "example-1",
        "source": "orchestrator/1",
        "event_type": "deploy",
        "vm_uuid": "6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10",
        "sequence": 1,
        "at": 1773126781.25,
        "attempts": 1,
        **end,
    }
    for end in _EXAMPLE_ENDS
]
"""Outcomes as a reader of the stream finds them."""


def json_schema(ref_template: str = DEFAULT_REF_TEMPLATE) -> dict[str, Any]:
    """Return the contract as JSON Schema (draft 2020-12). A reader passes over fields that it does not know."""
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        "$id": "urn:configdrive-fleet:outcome:1",
        "examples": EXAMPLES,
        **plain(_ADAPTER.json_schema(mode="serialization", ref_template=ref_template)),
        "title": "configdrive-fleet outcome of an event, version 1",
    }
