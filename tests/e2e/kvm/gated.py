"""A KVM host whose VMs CloudStack starts: its agent with our hook, the gate beside an adapter, and a fleet."""

import itertools
import re
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import libvirt

from configdrive.contract.outcome import Outcome, Status
from configdrive.model import ImageName, VmUuid
from rigs.certificates import Certificates
from rigs.cloudstack import CloudStack, machine, network
from rigs.cloudstack_agent import Agent
from rigs.fleet import Fleet
from rigs.process import LOOPBACK, Daemon, wait_until
from tests.e2e.kvm.site import SHARED, Site
from tests.integration.cloudstack.site import AdapterSite
from tests.integration.kvm.cloud import disk, domain, media_of
from tests.unit.workers.cloudstack.recorded import UUID, state
from workers.cloudstack.adapter import Adapter
from workers.cloudstack.gate_tokens import new_token
from workers.cloudstack.wiring import make_adapter
from workers.config.cloudstack import CloudStackSettings

HOST = "h1"
SCSI = "<controller type='scsi' index='0' model='virtio-scsi'/>"
USER_DATA = "I2Nsb3VkLWNvbmZpZwo="
_NO_DRIVE = "5e1c0a5e-7a5b-4a8e-9a7e-1f2d3c4b5a69"


class Gated:
    """All of it; the caller starts and stops hosts, fleet and CloudStack.

    Args:
        directory: for keys, tokens and logs.
        hosts: the KVM hosts.
        fleet: their fleet.
        cloudstack: the management server.
        certificates: of the gate.
        workers: of the agent.
    """

    def __init__(  # noqa: PLR0913 - what it consists of
        self,
        directory: Path,
        hosts: Site,
        fleet: Fleet,
        cloudstack: CloudStack,
        certificates: Certificates,
        *,
        workers: int = 5,
    ) -> None:
        self.hosts, self.fleet, self.cloudstack = hosts, fleet, cloudstack
        self.cloud = hosts.clouds[HOST]
        self._pki = certificates.directory
        tokens = directory / "gate.tokens"
        self.token = new_token(tokens, HOST)
        self.adapters = AdapterSite(directory, fleet, cloudstack)
        self.adapters.environment["CONFIGDRIVE_CLOUDSTACK__GATE_TOKENS_FILE"] = str(tokens)
        cloudstack.networks[_NO_DRIVE] = network(id=_NO_DRIVE, service=[])
        self.agent = Agent(directory / "agent", HOST, self.token, cloudstack.ca_file, workers=workers)
        self.gate: Daemon | None = None
        self.port = 0
        self.adapter: Adapter
        self.seconds = itertools.count(1)
        self.threads = ThreadPoolExecutor()

    def start_gate(self, seconds: float = 100) -> None:
        """Start the gate, where it was before if it was there before; a host is kept waiting for so long."""
        if self.gate is not None:
            self.gate.kill()
        self.gate = self.adapters.adapter(
            *("gate", "--address", LOOPBACK, "--port", str(self.port)),
            GATE_CERTIFICATE=str(self._pki / "servercert.pem"),
            GATE_CERTIFICATE_KEY=str(self._pki / "serverkey.pem"),
            GATE_SECONDS=str(seconds),
        )
        found = re.search(r"listening on \S+ port (\d+)", self.gate.log.read_text())
        assert found is not None
        self.port = int(found[1])
        self.agent.set(url=f"https://{LOOPBACK}:{self.port}")

    def __enter__(self) -> Self:
        """Start gate and agent."""
        environment = self.adapters.environment
        cloudstack = {
            name.removeprefix("CONFIGDRIVE_CLOUDSTACK__").lower(): value
            for name, value in environment.items()
            if name.startswith("CONFIGDRIVE_CLOUDSTACK__")
        }
        own = CloudStackSettings.model_validate(cloudstack)
        settings = self.fleet.settings.model_copy(update={"cloudstack": own})
        self.adapter = make_adapter(settings, self.fleet.mailbox, "test")
        self.start_gate()
        self.agent.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop them."""
        self.threads.shutdown()
        self.agent.stop()
        self.adapters.__exit__(kind, error, trace)

    def new_vm(self, **fields: object) -> "Started":
        """Return a VM that CloudStack has stopped."""
        identity = str(uuid.uuid4())
        name = str(fields.pop("instancename", f"i-2-{identity[:4]}-VM"))
        record = machine(identity, hypervisor="KVM", state="Stopped", hostname=None, instancename=name, **fields)
        self.cloudstack.vms[identity] = record
        self.cloudstack.user_data[identity] = USER_DATA
        self.cloudstack.storages[identity] = SHARED
        return Started(self, identity, name)

    @property
    def without_drive(self) -> dict[str, object]:
        """What a VM has whose default NIC's network names no ConfigDrive."""
        nic = {**machine("x")["nic"][0], "networkid": _NO_DRIVE}
        return {"nic": [nic]}


@dataclass
class Started:
    """One VM.

    Args:
        place: where.
        uuid: its uuid.
        name: its instance name.
        state: as CloudStack has it.
        devices: more of its devices.
        machine: its hardware.
    """

    place: Gated
    uuid: str
    name: str
    state: str = "Stopped"
    devices: str = SCSI
    machine: str = "pc"

    def comes_to(self, state_: str, host: str | None = HOST) -> None:
        """Bring it into a state in CloudStack, of which nobody hears."""
        self.place.cloudstack.vms[self.uuid] |= {"state": state_, "hostname": host}
        self.state = state_

    def said(self, new: str, host: str | None = HOST) -> None:
        """Bring it into a state, which CloudStack publishes."""
        old = self.state
        self.comes_to(new, host)
        payload = state(old, new, next(self.place.seconds))
        self.place.adapter.take(payload.replace(UUID.encode(), self.uuid.encode()))

    @property
    def xml(self) -> str:
        """The XML with which CloudStack would start it."""
        root = disk(self.place.cloud.root_disk(self.uuid), "vda", "virtio", "disk")
        devices = self.devices + "<controller type='usb' model='none'/>"
        hardware = {"machine": self.machine, "devices": devices}
        return domain(self.name, self.uuid, root, **hardware, firmware=self.place.cloud.firmware)

    def starts(self, xml: str | None = None) -> str:
        """Let CloudStack's agent prepare its start; return the XML that libvirt would be given."""
        self.comes_to("Starting")
        return self.place.agent.transform(self.xml if xml is None else xml)

    def runs(self, xml: str) -> None:
        """Let libvirt start it, as CloudStack does: without a definition that stays."""
        self.place.cloud.connection.createXML(xml, 0)

    def drives(self) -> list[ImageName]:
        """Return every image of the fleet's in the running VM."""
        media = media_of(self.place.cloud.connection.lookupByUUIDString(self.uuid).XMLDesc(0))
        images = [ImageName.parse((path or "").rpartition("/")[2]) for path in media.values()]
        return [image for image in images if image is not None]

    def outcomes(self) -> list[Outcome]:
        """Return what its events have led to."""
        found = [one for _, one in self.place.fleet.mailbox.outcomes("0", 0.01) if one is not None]
        return [one for one in found if one.vm_uuid == self.uuid]

    def settled(self, count: int, *, superseded: bool = False) -> list[Outcome]:
        """Wait until so many of its events have been applied, or were overtaken, and nothing waits."""
        fine = {Status.APPLIED, Status.NOT_APPLICABLE} | ({Status.DROPPED} if superseded else set())

        def done() -> list[Outcome] | None:
            view = self.place.fleet.mailbox.view(VmUuid(self.uuid))
            found = self.outcomes()
            assert all(one.status in fine for one in found), found
            return found if len(found) >= count and not (view and view.mail) else None

        return wait_until(done, f"{count} outcomes of VM {self.uuid}", timeout=30)

    def ends(self) -> None:
        """Take it away, whatever there is of it."""
        with suppress(libvirt.libvirtError):
            self.place.cloud.connection.lookupByUUIDString(self.uuid).destroy()

    def begins(self) -> Future[str]:
        """Begin its start, which waits for the gate."""
        return self.place.threads.submit(self.starts)

    def waits(self, events: int = 1) -> None:
        """See that the gate has published its start: so many of its events wait."""

        def waiting() -> bool:
            view = self.place.fleet.mailbox.view(VmUuid(self.uuid))
            return view is not None and len(view.mail) >= events

        wait_until(waiting, f"{events} events to wait", timeout=10)
