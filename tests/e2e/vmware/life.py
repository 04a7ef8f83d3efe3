"""One VM on vSphere: what its administrator does, its orchestrator sends, and what is there then."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rigs.cloud import VmScript
from rigs.process import RigError

if TYPE_CHECKING:
    from configdrive.contract.outcome import Outcome
    from rigs.fleet import Fleet
    from rigs.vcsim.cloud import Cloud

PASSWORD = "swordfish"
GUEST = {"password": PASSWORD, "user_data": {"text": "#!/bin/sh\necho hello\n"}}


@dataclass
class Life:
    """A VM that is defined, halted, on `h1`, with its root disk on a datastore and no CD drive."""

    cloud: Cloud
    fleet: Fleet
    datastore: str
    script: VmScript = field(default_factory=VmScript)
    host: str = "h1"

    def __post_init__(self) -> None:
        self.script.name = f"i-2-{self.script.uuid[:13]}-VM"  # there are many: shorter ones meet
        self.cloud.define(self.script.uuid, self.name, datastore=self.datastore, drive=False)

    @property
    def name(self) -> str:
        """Its name on the vCenter."""
        return self.script.name

    def publish(self, kind: str, **data: Any) -> str:  # noqa: ANN401 - fields of an event
        """Publish the VM's next event; returns its id."""
        event = self.script.event(kind, hypervisor="vmware", **{"host": self.host} | data)
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

    def migrate(self, phase: str, destination: str = "h2") -> Outcome:
        return self.send("migrate", phase=phase, destination=destination)

    def power_on(self) -> None:
        self.cloud.start(self.name)

    def power_off(self) -> None:
        self.cloud.stop(self.name)

    def medium(self) -> str | None:
        """The datastore path of what is in its one CD drive."""
        media = list(self.cloud.media(self.name).values())
        assert len(media) <= 1
        return media[0] if media else None

    def content(self) -> bytes:
        """The bytes of what is in its drive."""
        medium = self.medium()
        assert medium is not None
        return self.cloud.file(medium).read_bytes()

    def images(self) -> list[str]:
        """Every file of ours of this VM on any datastore, half-written ones too, as datastore paths."""
        root = self.cloud.center.directory / "datastores"
        found = (path.relative_to(root).parts for path in root.rglob(f"*{self.script.uuid}*"))
        return sorted(f"[{store}] {'/'.join(inner)}" for store, *inner in found)
