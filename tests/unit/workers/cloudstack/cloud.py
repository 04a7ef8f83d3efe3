"""A CloudStack in memory, an adapter beside it that remembers on a real Redis, and what was published."""

from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import SecretStr
from typing_extensions import override

from configdrive.client.publisher import Publisher
from configdrive.contract.events import LifecycleEvent, parse, short_type
from configdrive.contract.guest_data import GuestData
from configdrive.contract.sealing import guest_of
from configdrive.errors import TransientCode, TransientError
from configdrive.model import HypervisorName, VmUuid
from tests.mailboxes import Store
from tests.unit.fakes.small import FakeClock, FakeSealer
from tests.unit.workers.cloudstack.recorded import UUID
from workers.cloudstack.adapter import Adapter, Taken
from workers.cloudstack.notices import Notice
from workers.cloudstack.ports import NetworkRecord, NicRecord, Published, VmContent, VmDirectory, VmRecord
from workers.cloudstack.redis_memory import RedisMemory
from workers.config.cloudstack import DrivesFor, StartAt

RECORD = VmRecord(
    uuid=UUID,
    name="web-1",
    instance_name="i-2-36-VM",
    hypervisor="KVM",
    state="Stopped",
    host=None,
    zone_id="9f5c2d2a-05ac-476d-b274-f58cc211b007",
    zone="Zone 1",
    service_offering="Small Instance",
    password_enabled=True,
    nics=(
        NicRecord(
            "net-1", "02:00:0f:71:00:01", default=True, ip="10.1.1.19", netmask="255.255.255.0", gateway="10.1.1.1"
        ),
        NicRecord("net-2", "02:00:45:47:00:01", default=False, ip6="2001:db8::7", cidr6="2001:db8::/64"),
    ),
    os_name="Debian GNU/Linux 12 (64-bit)",
    key_names=("mine",),
    key_lines=("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPbDOqbxebWnKOpUdNN61e9EwJgMsveZLdVrDMKJDAw9 me",),
)
CONTENT = VmContent(
    {
        "net-1": NetworkRecord("web", (("UserData", ("ConfigDrive",)), ("Dhcp", ("VirtualRouter",))), ("192.0.2.53",)),
        "net-2": NetworkRecord("db"),
    },
    SecretStr("I2Nsb3VkLWNvbmZpZwo="),
)


@dataclass
class MemoryDirectory(VmDirectory):
    """What CloudStack would say now."""

    vm: VmRecord | None = RECORD
    data: VmContent = CONTENT
    passwords: dict[str, str] = field(default_factory=dict)
    fails: Exception | None = None
    asked: list[str] = field(default_factory=list)

    @override
    def find(self, vm: VmUuid) -> VmRecord | None:
        self.asked.append("find")
        if self.fails is not None:
            raise self.fails
        return self.vm

    @override
    def content(self, vm: VmRecord) -> VmContent:
        self.asked.append("content")
        return self.data

    @override
    def storage_of(self, vm: VmUuid) -> str | None:
        return "primary-1"

    @override
    def password_of(self, job: str) -> SecretStr | None:
        self.asked.append("password")
        return SecretStr(self.passwords[job]) if job in self.passwords else None


class ClockedMemory(RedisMemory):
    """By a clock that tests move; it `dies` after something was published and before that is remembered."""

    dies = False

    def __init__(self, store: Store, clock: FakeClock) -> None:
        super().__init__(store.client, prefix=store.prefix, seen_seconds=60, gone_seconds=60)
        self._clock = clock

    @override
    def now_ms(self) -> int:
        return int(self._clock.now() * 1000)

    @override
    def write(self, vm: VmUuid, published: Published, notice: Notice | None) -> None:
        if self.dies:
            raise TransientError(TransientCode.VM_BUSY, "the adapter dies here")
        super().write(vm, published, notice)


class Cloud:
    """One VM in CloudStack, and all that its adapter has published of it."""

    def __init__(
        self,
        *,
        start_at: StartAt = StartAt.RUNNING,
        hosts: dict[str, str] | None = None,
        drives_for: DrivesFor = DrivesFor.OFFERING,
        record: VmRecord = RECORD,
    ) -> None:
        self.record = record
        self.clock = FakeClock()
        self.store = Store()
        self.mailbox = self.store.mailbox
        self.sealer = FakeSealer()
        self.directory = MemoryDirectory()
        self.memory = ClockedMemory(self.store, self.clock)
        self.publisher = Publisher(
            self.mailbox, self.sealer, hypervisors=list(map(HypervisorName, ("kvm", "simulated", "xenserver")))
        )
        self.adapter = Adapter(
            directory=self.directory,
            memory=self.memory,
            publisher=self.publisher,
            dead_letter=self.mailbox.dead_letter,
            clock=self.clock,
            start_at=start_at,
            hosts=hosts or {},
            drives_for=drives_for,
            origin="test",
        )

    def now(self, state: str | None, host: str | None = None) -> None:
        """Bring the VM into a state; `None`: CloudStack shows it no more."""
        self.directory.vm = None if state is None else replace(self.record, state=state, host=host)

    def take(self, body: bytes, **beside: str) -> Taken:
        """Give the adapter a payload."""
        return self.adapter.take(body, **beside)

    @property
    def events(self) -> list[LifecycleEvent]:
        """All that was published about the VM, in order."""
        bodies: Any = self.store.client.hgetall(self.store.key("body", UUID))
        return [parse(bodies[identity.encode()]) for identity in self.store.mail(UUID)]

    @property
    def types(self) -> list[str]:
        """Their types; of a migration with its phase, of a stop whether it had booted."""
        return [_word(event) for event in self.events]

    def guest(self, index: int = -1) -> GuestData:
        """Return what an event says of the drive."""
        return guest_of(self.events[index], self.sealer)


def _word(event: LifecycleEvent) -> str:
    word = short_type(event.type)
    phase = getattr(event.data, "phase", None)
    if phase is not None:
        return f"{word} {phase}"
    return f"{word} unbooted" if getattr(event.data, "booted", True) is False else word
