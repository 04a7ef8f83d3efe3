"""One VM on XenServer: what its administrator does, its orchestrator sends, and what is there then."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from configdrive.contract.outcome import Outcome
from configdrive.model import HostName, HypervisorName, InstanceName, Place, Vm, VmUuid
from rigs.cloud import VmScript
from rigs.fleet import Fleet
from tests.e2e.orchestrator import Orchestrator
from tests.integration.xenserver.cloud import A, B, Cloud


@dataclass
class Life(Orchestrator):
    """A VM that is defined now, unless it is there already, halted, with its root disk on a storage."""

    hypervisor: ClassVar = "xenserver"
    cloud: Cloud
    fleet: Fleet
    place: Place
    host: str = A
    script: VmScript = field(default_factory=VmScript)
    is_there: bool = False

    def __post_init__(self) -> None:
        if not self.is_there:
            self.cloud.site.define_vm(self.script.name, self.cloud.storages[self.place], uuid=self.script.uuid)

    @property
    def vm(self) -> Vm:
        """The VM as drivers know it."""
        return Vm(
            VmUuid(self.script.uuid), InstanceName(self.script.name), HypervisorName("xenserver"), HostName(self.host)
        )

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
