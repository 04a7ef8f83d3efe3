"""Whole lives of a VM, as Hypothesis makes them up, with a worker that dies now and then: a model says what must be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from typing_extensions import override

from configdrive.errors import StaleCode
from configdrive.lifecycle.state import Phase
from configdrive.model import HostName, PowerState, StorageName
from tests.unit.documents import Json
from tests.unit.fakes.cloud import At
from tests.unit.fakes.fleet import HOST_1, HOST_2, LOCAL, PRIMARY, SECOND, VM, Fleet, read_image


class Killed(BaseException):
    """`kill -9`."""


@dataclass(frozen=True)
class Drive:
    """What the guest must find."""

    password: str | None
    user_data: str | None


passwords = st.none() | st.sampled_from(["one", "two", "three"])
contents = st.none() | st.sampled_from(["blue", "green"])
deaths = st.none() | st.integers(0, 12)
"""The point of the driver's work at which the worker dies in the first attempt."""


class Lives(RuleBasedStateMachine):
    """The password's life in the words of its rules, against what stands on the image in the drive."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet = Fleet()
        self.pending: str | None = None
        self.carried: str | None = None
        self.user_data: str | None = None
        self.drive: Drive | None = None
        self.staged = False
        self.read: tuple[bytes, Drive] | None = None

    @property
    def live(self) -> bool:
        return self.fleet.machine.power is PowerState.RUNNING

    def attempt(self, word: str, death: int | None, **data: Any) -> None:  # noqa: ANN401 - fields of an event
        """Make an attempt at an event; a worker that dies over it is followed by another."""
        event = self.fleet.event(word, **{"host": self.fleet.machine.host} | data)
        passed = 0

        def hook(_verb: str, _at: At) -> None:
            nonlocal passed
            passed += 1
            if passed - 1 == death:
                raise Killed

        self.fleet.cloud.hook = hook
        try:
            settled = self.fleet.handle(event)
        except Killed:
            settled = self.fleet.handle(event, attempt=2)
        assert settled.outcome.code is None
        assert self.fleet.handle(event).outcome.code in {StaleCode.STALE_SEQUENCE, StaleCode.VM_GONE}

    def attach(self) -> None:
        self.drive, self.staged = Drive(self.carried, self.user_data), False

    def given(self, password: str | None, user_data: str | None) -> Json:
        guest: Json = {}
        if password is not None:
            guest["password"] = self.pending = password
        if user_data is not None:
            guest["user_data"] = {"text": user_data}
            self.user_data = user_data
        return guest

    @precondition(lambda self: self.drive is None)
    @rule(password=passwords, user_data=contents, death=deaths)
    def deploy(self, password: str | None, user_data: str | None, death: int | None) -> None:
        self.pending = self.carried = self.user_data = None
        self.attempt("deploy", death, guest=self.given(password, user_data))
        self.staged = True

    @rule(password=passwords, user_data=contents, death=deaths)
    def start(self, password: str | None, user_data: str | None, death: int | None) -> None:
        self.attempt("start", death, guest=self.given(password, user_data))
        if self.pending is not None:
            self.carried, self.pending = self.pending, None
        self.attach()

    @precondition(lambda self: self.drive is not None)
    @rule()
    def boot(self) -> None:
        self.fleet.power(PowerState.RUNNING)

    @rule()
    def shut_down_from_within(self) -> None:
        self.fleet.power(PowerState.HALTED)

    @rule(booted=st.booleans(), death=deaths)
    def stop(self, *, booted: bool, death: int | None) -> None:
        self.fleet.power(PowerState.HALTED)
        self.attempt("stop", death, booted=booted)
        if not booted and self.pending is None:
            self.pending = self.carried
        self.carried, self.drive, self.staged = None, None, False

    @rule(password=st.sampled_from(["four", "five"]), now=st.booleans(), death=deaths)
    def reset(self, password: str, *, now: bool, death: int | None) -> None:
        self.attempt(
            "password_reset",
            death,
            guest={"password": password},
            apply="now" if now else "next_start",
        )
        self.pending = password
        if now and self.live:
            self.carried, self.pending = password, None
            self.attach()

    @rule(user_data=contents, now=st.booleans(), death=deaths)
    def update(self, user_data: str | None, *, now: bool, death: int | None) -> None:
        self.attempt("update", death, guest=self.given(None, user_data), apply="now" if now else "next_start")
        if now and self.live:
            self.attach()

    @rule(death=deaths)
    def deliver(self, death: int | None) -> None:
        self.attempt("update", death, password_delivered=True)
        self.carried = None
        if self.live:
            self.attach()

    @precondition(lambda self: self.drive is not None)
    @rule(password=passwords, death=deaths)
    def fail_over(self, password: str | None, death: int | None) -> None:
        """The host dies; the VM is defined on the other one, without its medium, and started there."""
        machine = self.fleet.machine
        machine.host, machine.medium, machine.power = self.other_host, None, PowerState.HALTED
        self.start(password=password, user_data=None, death=death)

    @rule(root=st.sampled_from([PRIMARY, SECOND, LOCAL]))
    def move_root_disk(self, root: StorageName) -> None:
        self.fleet.machine.root = root

    @rule(back=st.booleans(), death=deaths, second_death=deaths)
    def migrate(self, *, back: bool, death: int | None, second_death: int | None) -> None:
        fleet, source, destination = self.fleet, self.fleet.machine.host, self.other_host
        self.attempt("migrate", death, phase="prepare", host=source, destination=destination)
        fleet.machine.medium = None  # the worst hypervisor gives it up
        if not back:
            fleet.machine.host = destination
        self.attempt(
            "migrate", second_death, phase="rollback" if back else "complete", host=None, destination=destination
        )

    @property
    def other_host(self) -> HostName:
        return HOST_1 if self.fleet.machine.host == HOST_2 else HOST_2

    @invariant()
    def the_guest_finds_what_it_must(self) -> None:
        content = self.fleet.cloud.medium(VM)
        if content is None:
            assert self.drive is None
            return
        if self.read is None or self.read[0] != content:
            files = {path: data.decode(errors="replace") for path, data in read_image(content).items()}
            found = Drive(
                files.get("cloudstack/password/vm_password.txt"), files.get("cloudstack/userdata/user_data.txt")
            )
            self.read = content, found
        assert self.read[1] == self.drive

    @invariant()
    def no_image_is_left_behind(self) -> None:
        images = self.fleet.cloud.images_of(VM)
        assert len(images) == (1 if self.drive is not None or self.staged else 0)
        assert {stored.place for stored in images} <= set(self.fleet.known().places)

    @invariant()
    def what_is_remembered_is_right(self) -> None:
        known = self.fleet.known()
        passwords = (known.passwords.pending, known.passwords.carried)
        assert [one and one.get_secret_value() for one in passwords] == [self.pending, self.carried]
        phase = Phase.ATTACHED if self.drive is not None else Phase.STAGED if self.staged else Phase.ABSENT
        assert known.phase is phase
        assert known.vm is None or known.vm.host == self.fleet.machine.host

    @override
    def teardown(self) -> None:
        """Whatever its life was, a destroy leaves nothing of the VM."""
        self.attempt("destroy", None)
        assert self.fleet.cloud.files == {}
        assert self.fleet.machine.medium is None


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=settings().max_examples // 2, stateful_step_count=20)
