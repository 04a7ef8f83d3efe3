"""A small simulated cloud for tests of the queue: its inventory, its world, and events for its VMs."""

import itertools
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from configdrive.contract.event_key import event_key
from configdrive.model import EventKey, HostName, StorageName, VmUuid
from rigs.simulated.audit import Entry, begin_audit, read_audit
from rigs.simulated.driver import RiggedWorld
from workers.hypervisors.simulated.topology import Hosts, StorageSpec

HOST = "h1"
STORAGE = "p1"
_SIGNED = re.compile(r"(-[0-9a-f]{12}\.[0-9]+)\.[a-z2-7]{16}-[a-z2-7]{8}\.iso")


class Cloud:
    """A simulated cloud: one host with one storage, and VMs that come into being when they are first observed.

    Args:
        directory: where the world lies.
        hosts: others than that one.
        auto_define: whether VMs come into being by themselves.
        latency_ms: what each verb takes at least.
        audit: whether every change is written down.
        keep: whether every image that is ever attached is kept.
    """

    def __init__(  # noqa: PLR0913  # what a cloud may be told
        self,
        directory: Path,
        *,
        hosts: Hosts | None = None,
        auto_define: bool = True,
        latency_ms: float = 0,
        audit: bool = False,
        keep: bool = False,
    ) -> None:
        self.directory = directory
        self._hosts = hosts or {HostName(HOST): {StorageName(STORAGE): StorageSpec()}}
        self._options = {"auto_define": auto_define, "latency_ms": latency_ms}
        if audit:
            begin_audit(directory, keep=keep)
        self.world = RiggedWorld(directory, self._hosts)
        self.world.prepare()

    @property
    def inventory(self) -> str:
        """The inventory's text."""
        lines = ["[simulated]", f"directory = {json.dumps(str(self.directory))}"]
        lines += [f"{name} = {json.dumps(value)}" for name, value in self._options.items()]
        for host, storages in self._hosts.items():
            lines.append(f"[simulated.hosts.{host}.storages]")
            lines += [f"{name} = {_table(spec)}" for name, spec in storages.items()]
        return "\n".join((*lines, ""))

    def images(self, vm: str) -> list[str]:
        """The files of one VM on all storages, half-written ones included."""
        return [plain(path.name) for path in self.world.files() if vm in path.name]

    def medium(self, vm: str) -> str | None:
        """The file in the VM's config drive; `None` when there is none, or no VM."""
        record = self.world.vm(VmUuid(vm))
        media = [] if record is None else [medium.file for medium in record.media]
        assert len(set(media)) <= 1, f"VM {vm} has several media: {media}"
        return plain(media[0]) if media else None

    def audit(self) -> list[Entry]:
        """All that was ever done, oldest first."""
        return [_plain_entry(entry) for entry in read_audit(self.directory)]


def plain(name: str) -> str:
    """Return an image's name without its fingerprint and its fleet, which no test can foresee."""
    return _SIGNED.sub(r"\1.iso", name)


def _plain_entry(entry: Entry) -> Entry:
    return Entry(**json.loads(plain(json.dumps(asdict(entry)))) | {"mark": entry.mark})


def _table(spec: StorageSpec) -> str:
    capacity = "" if spec.capacity_bytes is None else f", capacity_bytes = {spec.capacity_bytes}"
    return f"{{shared = {json.dumps(spec.shared)}{capacity}}}"


def key_of(event: Mapping[str, Any]) -> EventKey:
    """Return the key of an event that a VM's script says."""
    return event_key(event["source"], event["id"])


class VmScript:
    """One VM, and its events in order."""

    def __init__(self, *, uuid_: str | None = None) -> None:
        self.uuid = uuid_ or str(uuid.uuid4())
        self.name = f"i-2-{self.uuid[:4]}-vm"
        self._sequence = itertools.count(1)
        self.last = 0

    def event(self, kind: str, **data: Any) -> dict[str, Any]:  # noqa: ANN401 - the fields of an event's data
        """Return the VM's next event."""
        self.last = data.pop("sequence", None) or next(self._sequence)
        return {
            "specversion": "1.0",
            "id": uuid.uuid4().hex,
            "source": "/tests",
            "type": f"configdrive.vm.{kind}.v1",
            "data": {
                "sequence": self.last,
                "vm": {"uuid": self.uuid, "instance_name": self.name},
                "hypervisor": "simulated",
                "host": HOST,
                **data,
            },
        }

    def image(self, generation: int | None = None) -> str:
        """Return the file name of the VM's image of a generation; of its last event when none is given."""
        return f"{self.name}.{self.uuid}.{self.last if generation is None else generation}.iso"
