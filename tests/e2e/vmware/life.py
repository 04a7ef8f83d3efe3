"""One VM on vSphere: what its administrator does, its orchestrator sends, and what is there then."""

from dataclasses import dataclass, field
from typing import ClassVar

from configdrive.contract.outcome import Outcome
from rigs.cloud import VmScript
from rigs.fleet import Fleet
from rigs.vcsim.cloud import Cloud
from tests.e2e.orchestrator import Orchestrator


@dataclass
class Life(Orchestrator):
    """A VM that is defined, halted, with its root disk on a datastore.

    Args:
        cloud, fleet: where it is, and who gets its events.
        datastore: of its root disk.
        script: its events.
        host: what its events call its host.
        esxi: the host on which it is defined.
        drive: with an empty CD drive of the user's.
        called: its name; one that nobody else has otherwise.
    """

    hypervisor: ClassVar = "vmware"
    cloud: Cloud
    fleet: Fleet
    datastore: str
    script: VmScript = field(default_factory=VmScript)
    host: str = "h1"
    esxi: str = "esx-01"
    drive: bool = False
    called: str = ""

    def __post_init__(self) -> None:
        self.script.name = self.called or f"i-2-{self.script.uuid[:13]}-VM"  # there are many: shorter ones meet
        self.cloud.define(self.script.uuid, self.name, datastore=self.datastore, host=self.esxi, drive=self.drive)

    @property
    def name(self) -> str:
        """Its name on the vCenter."""
        return self.script.name

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
