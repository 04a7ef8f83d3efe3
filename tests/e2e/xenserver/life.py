"""One VM on XenServer: what its administrator does, its orchestrator sends, and what is there then."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from configdrive.model import HypervisorName, InstanceName, Vm, VmUuid
from rigs.cloud import VmScript
from rigs.process import RigError
from tests.integration.xenserver.cloud import A, B

if TYPE_CHECKING:
    from configdrive.contract.outcome import Outcome
    from configdrive.model import HostName, Place
    from rigs.fleet import Fleet
    from tests.integration.xenserver.cloud import Cloud

PASSWORD = "swordfish"
GUEST = {"password": PASSWORD, "user_data": {"text": "#!/bin/sh\necho hello\n"}}


@dataclass
class Life:
    """A VM that is defined, halted, with its root disk on a storage."""

    cloud: Cloud
    fleet: Fleet
    place: Place
    host: HostName = A
    script: VmScript = field(default_factory=VmScript)

    def __post_init__(self) -> None:
        self.cloud.site.define_vm(self.script.name, self.cloud.storages[self.place], uuid=self.script.uuid)

    @property
    def vm(self) -> Vm:
        """The VM as drivers know it."""
        return Vm(VmUuid(self.script.uuid), InstanceName(self.script.name), HypervisorName("xenserver"), self.host)

    def publish(self, kind: str, **data: Any) -> str:  # noqa: ANN401 - fields of an event
        """Publish the VM's next event; returns its id."""
        event = self.script.event(kind, hypervisor="xenserver", **{"host": self.host} | data)
        receipt = self.fleet.publisher.publish(event)
        assert receipt.accepted
        return receipt.event_id

    def send(self, kind: str, **data: Any) -> Outcome:  # noqa: ANN401 - as above
        """Publish the VM's next event and wait for its outcome, final or parked."""
        return self.outcome(self.publish(kind, **data))

    def outcome(self, event_id: str) -> Outcome:
        """Wait for the outcome of an event.

        Raises:
            RigError: there was none within 60 s.
        """
        outcome = self.fleet.publisher.wait(event_id, 60)
        if outcome is None:
            raise RigError(f"no outcome\n{self.fleet.log[-3000:]}")
        return outcome

    def migrate(self, phase: str, **data: Any) -> Outcome:  # noqa: ANN401 - as above
        return self.send("migrate", phase=phase, **{"destination": B} | data)

    def power_on(self) -> None:
        self.cloud.site.start_vm(self.script.uuid, self.host)

    def power_off(self) -> None:
        self.cloud.site.stop_vm(self.script.uuid)

    def medium(self) -> bytes | None:
        """What is in the config drive."""
        return self.cloud.medium(self.vm)

    def images(self, place: Place | None = None) -> dict[str, bytes]:
        """The VM's image files on a storage."""
        found = self.cloud.images(place or self.place)
        return {name: content for name, content in found.items() if self.script.uuid in name}
