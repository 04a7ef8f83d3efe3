"""Payloads in, events out: each row of the tables in `workers.cloudstack.decide`, and what can go wrong.

Any life, however it is said: `test_adapter_lives`. One long file, as the tables are: every row begins with the same
VM, and changes one thing of its life, content or fate.
"""

import itertools
import json
from dataclasses import asdict, replace

import pytest
from pydantic import SecretStr

from configdrive.contract.events import MigrateEvent, PasswordResetEvent, StartEvent
from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.model import GuestOs
from rigs.cloudstack import machine
from tests.unit.workers.cloudstack.cloud import CONTENT, RECORD, Cloud
from tests.unit.workers.cloudstack.recorded import BEGIN, NEW_PASSWORD, PASSWORD, UUID, action, body, job, short, state
from workers.cloudstack.adapter import Result
from workers.cloudstack.directory import record_of
from workers.cloudstack.events import guest_os_of
from workers.cloudstack.ports import NetworkRecord
from workers.cloudstack.retrying import take
from workers.config.cloudstack import DrivesFor, StartAt


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def running(cloud: Cloud) -> Cloud:
    """A VM whose start was published, at second 10."""
    cloud.now("Running", "h1")
    cloud.take(state("Starting", "Running", 10))
    return cloud


RAN = ("Running", "h1", state("Starting", "Running", 10))
"""Where the VM is, and what is said then: its start."""


LIVES: dict[str, tuple[list[tuple[str | None, str | None, bytes]], list[str]]] = {
    "action events alone": (
        [
            ("Running", "h1", action("VM.CREATE", 0)),
            ("Running", "h2", action("VM.MIGRATE", 1)),
            ("Running", "h2", action("VM.REBOOT", 2)),
            ("Stopped", None, action("VM.STOP", 3)),
            ("Running", "h1", action("VM.START", 4)),
            ("Destroyed", None, action("VM.DESTROY", 5)),
            ("Stopped", None, action("VM.RECOVER", 6)),
            ("Running", "h1", short("VM.START")),
            ("Destroyed", None, short("VM.DESTROY")),
            (None, None, action("VM.EXPUNGE", 9)),
        ],
        ["start h1", "migrate complete h1", "stop h2", "start h1", "stop h1", "start h1", "stop h1", "destroy h1"],
    ),
    "states alone": (
        [
            RAN,
            ("Migrating", "h2", state("Running", "Migrating", 20)),
            ("Running", "h2", state("Migrating", "Running", 25)),
            ("Migrating", "h1", state("Running", "Migrating", 30)),
            ("Running", "h2", state("Migrating", "Running", 31)),
            ("Stopping", "h2", state("Running", "Stopping", 40)),
            ("Stopped", None, state("Stopping", "Stopped", 41)),
            ("Destroyed", None, state("Stopped", "Destroyed", 62)),
            ("Stopped", None, state("Destroyed", "Stopped", 70)),
            ("Expunging", None, state("Destroyed", "Expunging", 90)),
        ],
        [
            "start h1",
            "migrate prepare h1",
            "migrate complete h1",
            "migrate prepare h2",
            "migrate rollback h2",
            "stop h2",
            "destroy h2",
        ],
    ),
    "a life that is over when it is heard of is only an end": (
        [("Expunging", None, RAN[2]), ("Expunging", None, state("Destroyed", "Expunging", 90))],
        ["destroy None"],
    ),
    "a start that failed never happened": (
        [
            ("Starting", "h1", state("Stopped", "Starting", 1)),
            ("Stopped", None, state("Starting", "Stopped", 2)),
        ],
        [],
    ),
    "a VM that ran before it was heard of is stopped": (
        [("Stopped", None, state("Stopping", "Stopped", 1))],
        ["stop None"],
    ),
    "of two notices of the same second the order does not matter": (
        [RAN, ("Running", "h1", state("Stopped", "Starting", 10))],
        ["start h1"],
    ),
    "a restart by HA on another host is a stop and a start": (
        [RAN, ("Running", "h2", state("Starting", "Running", 30))],
        ["start h1", "stop h1", "start h2"],
    ),
    "a VM that went off while it migrated is stopped": (
        [
            RAN,
            ("Migrating", "h2", state("Running", "Migrating", 20)),
            ("Stopped", None, state("Migrating", "Stopped", 21)),
        ],
        ["start h1", "migrate prepare h1", "stop h1"],
    ),
    "a VM that CloudStack does not show is left alone": (
        [(None, None, state("Starting", "Running", 1)), (None, None, state("Destroyed", "Expunging", 2))],
        [],
    ),
    "keys that show nothing destroy nothing": (
        [RAN, (None, None, state("Running", "Stopping", 20)), (None, None, action("VM.UPDATE", 21))],
        ["start h1"],
    ),
    "an unmanaging that failed changes nothing": (
        [RAN, ("Running", "h1", action("VM.UNMANAGE", 20))],
        ["start h1"],
    ),
    # until its next start its host may know it by another uuid: what was published would be parked
    "a VM that was imported while it ran gets its drive with its next start": (
        [
            ("Running", "h1", action("VM.IMPORT", 10)),
            ("Running", "h1", action("VM.UPDATE", 11)),
            ("Stopped", None, state("Stopping", "Stopped", 12)),
            ("Running", "h1", state("Starting", "Running", 14)),
        ],
        ["start h1"],
    ),
    "also when its stop is heard of once it runs again": (
        [
            ("Running", "h1", action("VM.IMPORT", 10)),
            ("Running", "h1", state("Running", "Stopping", 12)),
            ("Running", "h1", state("Stopping", "Stopped", 12)),
            ("Running", "h1", state("Stopped", "Starting", 12)),
            ("Running", "h1", state("Starting", "Running", 12)),
        ],
        ["start h1"],
    ),
    **{
        f"a VM that is shown no more is gone when the notice says so {number}": (
            [RAN, (None, None, gone), (None, None, state("Running", "Stopping", 30))],
            ["start h1", "destroy h1"],
        )
        for number, gone in enumerate(
            [
                state("Destroyed", "Expunging", 20),
                action("VM.EXPUNGE", 20),
                action("VM.UNMANAGE", 20),
                job("VM.DESTROY", "j", expunge="true"),
            ]
        )
    },
}
"""What comes to pass, and is said then -> what is published, and of which host."""


@pytest.mark.parametrize("life", LIVES)
def test_what_is_published_of_a_life(cloud: Cloud, life: str) -> None:
    steps, published = LIVES[life]
    for now, host, payload in steps:
        cloud.now(now, host)
        cloud.take(payload)
    assert [f"{word} {event.data.host}" for word, event in zip(cloud.types, cloud.events, strict=True)] == published


def test_every_order_of_a_stop_and_start_leaves_the_drive_attached_and_the_boot_a_new_one() -> None:
    *before, started = [
        state("Running", "Stopping", 20),
        state("Stopping", "Stopped", 21),
        state("Stopped", "Starting", 22),
        state("Starting", "Running", 23),
    ]
    for order in itertools.permutations((*before, started)):
        cloud = Cloud()
        cloud.now("Running", "h1")
        cloud.take(state("Starting", "Running", 10))
        results = [cloud.take(payload).result for payload in order]
        assert cloud.types == ["start", "stop", "start"]
        assert {*results[order.index(started) + 1 :]} <= {Result.STALE}


@pytest.mark.parametrize(("host", "published"), [(None, []), ("h1", ["start"])])
def test_where_it_is_set_so_a_vm_has_its_drive_once_it_is_starting_on_a_host(
    host: str | None, published: list[str]
) -> None:
    cloud = Cloud(start_at=StartAt.STARTING)
    cloud.now("Starting", host)
    cloud.take(state("Stopped", "Starting", 1))
    assert cloud.types == published

    cloud.now("Starting", "h1")
    cloud.take(state("Starting", "Starting", 2))
    cloud.now("Running", "h1")
    cloud.take(state("Starting", "Running", 3))
    assert cloud.types == ["start"]


def test_then_a_start_that_failed_keeps_the_password_and_one_on_another_host_is_one_more() -> None:
    cloud = Cloud(start_at=StartAt.STARTING)
    cloud.now("Starting", "h1")
    cloud.take(state("Stopped", "Starting", 1))
    cloud.now("Starting", "h2")
    cloud.take(state("Starting", "Starting", 2))
    cloud.now("Stopped")
    cloud.take(state("Starting", "Stopped", 3))

    assert cloud.types == ["start", "start", "stop unbooted"]
    assert [event.data.host for event in cloud.events] == ["h1", "h2", "h2"]


@pytest.mark.parametrize(
    ("os_name", "guest_os"),
    [
        ("Windows Server 2022 (64-bit)", GuestOs.WINDOWS),
        ("Debian GNU/Linux 12 (64-bit)", GuestOs.LINUX),
        ("Red Hat Enterprise Linux 9", GuestOs.LINUX),
        ("FreeBSD 14 (64-bit)", None),
        ("Other PV (64-bit)", None),
        (None, None),
    ],
)
def test_what_cloudstack_calls_an_os_is_a_family(os_name: str | None, guest_os: GuestOs | None) -> None:
    assert guest_os_of(os_name) is guest_os


def test_a_start_says_all_that_belongs_on_the_drive(running: Cloud) -> None:
    (event,) = running.events
    assert isinstance(event, StartEvent)
    assert event.data.network_offering is not None
    assert event.data.network_offering.names_config_drive
    assert (event.data.host, event.data.zone, event.data.password_enabled) == ("h1", "zone-1", True)
    assert (event.data.vm.instance_name, event.subject, event.source) == ("i-2-36-VM", UUID, "cloudstack")
    assert event.data.primary_storage is None
    assert event.data.guest_os is GuestOs.LINUX
    guest = running.guest()
    assert guest.metadata is not None
    assert {name: value for name, value in asdict(guest.metadata).items() if value} == {
        "availability_zone": "Zone 1",
        "instance_id": UUID,
        "vm_id": UUID,
        "local_hostname": "web-1",
        "service_offering": "Small Instance",
        "local_ipv4": "10.1.1.19",
    }
    assert guest.user_data is not None
    assert guest.user_data.content().get_secret_value() == b"#cloud-config\n"
    assert guest.ssh_keys is not None
    assert [key.name for key in guest.ssh_keys] == ["mine"]
    assert guest.nics is not None
    first, second = guest.nics
    assert [address.dhcp for address in first.addresses or ()] == [4]
    assert [str(server) for server in first.dns] == ["192.0.2.53"]
    assert [str(address.cidr) for address in second.addresses or ()] == ["2001:db8::7/64"]
    assert guest.password is None


def test_what_a_vm_does_not_have_is_taken_from_its_drive(cloud: Cloud) -> None:
    cloud.directory.vm = replace(RECORD, state="Running", host="h1", key_names=(), key_lines=(), nics=())
    cloud.directory.data = replace(CONTENT, user_data=None, networks={})
    cloud.take(state("Starting", "Running", 1))

    guest = cloud.guest()
    assert (guest.user_data, guest.ssh_keys, guest.nics) == (None, (), ())
    assert {"user_data", "ssh_keys", "nics"} <= guest.model_fields_set
    (event,) = cloud.events
    assert isinstance(event, StartEvent)
    assert event.data.network_offering is not None
    assert not event.data.network_offering.names_config_drive


@pytest.mark.parametrize(("drives_for", "wanted"), [(DrivesFor.OFFERING, False), (DrivesFor.ALL, True)])
def test_which_vms_have_a_drive_is_the_offering_s_word_or_all(drives_for: DrivesFor, *, wanted: bool) -> None:
    cloud = Cloud(drives_for=drives_for)
    cloud.now("Running", "h1")
    cloud.directory.data = replace(
        CONTENT, networks={"net-1": NetworkRecord("web", (("UserData", ("VirtualRouter",)),))}
    )
    cloud.take(state("Starting", "Running", 1))

    (event,) = cloud.events
    assert isinstance(event, StartEvent)
    assert event.data.network_offering is not None
    assert event.data.network_offering.names_config_drive is wanted


def test_hosts_have_their_inventory_s_names() -> None:
    cloud = Cloud(hosts={"kvm1.example": "kvm-01"})
    for now, host, payload in [
        ("Running", "kvm1.example", state("Starting", "Running", 1)),
        ("Migrating", "kvm2", state("Running", "Migrating", 2)),
    ]:
        cloud.now(now, host)
        cloud.take(payload)

    event = cloud.events[-1]
    assert isinstance(event, MigrateEvent)
    assert (event.data.host, event.data.destination) == ("kvm-01", "kvm2")


JOB = "5f0b6a52-4a2e-4b53-8c3f-1d6b0de1b2a7"


@pytest.mark.parametrize(
    ("payload", "said", "asked"),
    [
        (body("job-create-strings"), PASSWORD, False),
        (body("job-resetpassword-strings"), NEW_PASSWORD, False),
        (body("job-resetpassword-objects"), "asked for", True),  # it is masked
        (job("VM.RESETPASSWORD", JOB), "asked for", True),  # it is missing
    ],
)
def test_a_new_password_is_published_and_asked_for_where_it_is_not_said(
    running: Cloud, payload: bytes, said: str, *, asked: bool
) -> None:
    running.directory.passwords[JOB] = "asked for"
    running.take(payload)

    assert running.types == ["start", "password_reset"]
    assert isinstance(running.events[-1], PasswordResetEvent)
    password = running.guest().password
    assert password is not None
    assert password.get_secret_value() == said
    assert ("password" in running.directory.asked) is asked


def test_before_a_vm_was_heard_of_nothing_new_is_published_but_a_password_with_its_start(cloud: Cloud) -> None:
    assert "first start" in cloud.take(action("VM.UPDATE", 1)).reason
    assert cloud.take(body("job-resetpassword-strings")).result is Result.DEAD_LETTER
    assert cloud.types == []
    cloud.now("Running", "h1")
    assert len(cloud.take(body("job-create-strings")).events) == 2
    assert cloud.types == ["start", "password_reset"]


@pytest.mark.parametrize("event", ["VM.UPDATE", "VM.RESETSSHKEY", "VM.RESETUSERDATA", "VM.MOVE"])
def test_new_content_is_published_once_for_the_next_start_whoever_says_it(running: Cloud, event: str) -> None:
    said = [
        running.take(action(event, 20), event_id="e-1"),
        running.take(action(event, 20)),
        running.take(short(event), event_id="e-1"),
        running.take(job(event, "j1")),
    ]
    assert [taken.result for taken in said] == [Result.PUBLISHED, Result.DUPLICATE, Result.DUPLICATE, Result.IGNORED]
    assert running.types == ["start", "update"]
    assert running.events[-1].model_dump()["data"]["apply"] == "next_start"


def test_a_masked_password_of_a_job_that_is_forgotten_is_a_dead_letter_and_not_on_the_drive(running: Cloud) -> None:
    taken = running.take(body("job-resetpassword-objects"))

    assert taken.result is Result.DEAD_LETTER
    assert "reset it again" in running.mailbox.dead_letters(1)[0].reason
    assert running.types == ["start"]


@pytest.mark.parametrize("name", ["action-null-uuid-nowhere", "action-null-uuid-two", "state-null-uuid"])
def test_a_vm_that_cannot_be_known_is_a_dead_letter_without_content(cloud: Cloud, name: str) -> None:
    assert cloud.take(body(name)).result is Result.DEAD_LETTER
    (letter,) = cloud.mailbox.dead_letters(9)
    assert letter.origin == "cloudstack test"
    assert "names no VM" in letter.reason
    assert UUID not in letter.reason


def test_what_is_no_payload_is_a_dead_letter(cloud: Cloud) -> None:
    taken = cloud.take(b"password=hunter2")

    assert (taken.result, taken.unreadable) == (Result.DEAD_LETTER, True)
    assert "hunter2" not in repr(cloud.mailbox.dead_letters(9))


@pytest.mark.parametrize(
    "error",
    [TransientError(TransientCode.HOST_UNREACHABLE, "away"), PermanentError(PermanentCode.ACCESS_DENIED, "no")],
)
def test_what_cannot_be_taken_now_comes_again(cloud: Cloud, error: Exception) -> None:
    cloud.now("Running", "h1")
    cloud.directory.fails = error
    with pytest.raises(type(error)):
        cloud.take(state("Starting", "Running", 1))
    assert cloud.mailbox.dead_letters(9) == []

    cloud.directory.fails = None
    assert cloud.take(state("Starting", "Running", 1)).result is Result.PUBLISHED


def test_an_adapter_that_dies_before_it_remembers_stores_nothing_twice(cloud: Cloud) -> None:
    cloud.now("Running", "h1")
    cloud.memory.dies = True
    with pytest.raises(TransientError):
        cloud.take(state("Starting", "Running", 1))
    cloud.memory.dies = False
    cloud.clock.time += 1
    cloud.take(state("Starting", "Running", 1))

    assert cloud.types == ["start"]


def test_after_a_loss_of_memory_sequences_go_on(running: Cloud) -> None:
    before = running.events[-1].data.sequence
    running.store.client.delete(f"{running.store.prefix}cloudstack:published:{UUID}")
    running.clock.time += 1
    running.take(action("VM.START", 20))

    assert running.types == ["start", "start"]
    assert running.events[-1].data.sequence > before


def test_a_vm_of_a_hypervisor_that_nobody_serves_is_left_alone(cloud: Cloud) -> None:
    cloud.directory.vm = replace(RECORD, state="Running", host="h1", hypervisor="LXC")

    assert cloud.take(state("Starting", "Running", 1)).result is Result.IGNORED
    assert cloud.mailbox.dead_letters(9) == []


def test_what_the_contract_refuses_is_a_dead_letter_and_tried_with_the_next_notice(cloud: Cloud) -> None:
    cloud.now("Running", "h1")
    cloud.directory.data = replace(CONTENT, user_data=SecretStr("sw0rdfish is no base64"))
    assert cloud.take(state("Starting", "Running", 1)).result is Result.DEAD_LETTER
    assert "sw0rdfish" not in repr(cloud.mailbox.dead_letters(9))

    cloud.directory.data = CONTENT
    cloud.take(action("VM.UPDATE", 20))
    assert cloud.types == ["start"]


def test_a_time_from_the_future_makes_nothing_after_it_stale(cloud: Cloud) -> None:
    cloud.clock.time = BEGIN.timestamp() + 100
    cloud.now("Running", "h1")
    cloud.take(state("Starting", "Running", 10_000))
    cloud.now("Stopped")
    cloud.take(state("Running", "Stopped", 50))

    assert cloud.types == ["start", "stop"]


@pytest.mark.parametrize("strange", ["two words", "line\nbreak", "\ud800", "x" * 65, "", None, 7, {"a": 1}])
def test_strange_words_are_passed_over_and_stand_in_no_log(cloud: Cloud, strange: object) -> None:
    cloud.now("Running", "h1")
    for field in ("old-state", "new-state", "status", "event", "commandEventType", "jobId"):
        document = {**json.loads(state("Starting", "Running", 1)), field: strange}
        taken = cloud.take(json.dumps(document).encode())
        assert str(strange) not in taken.reason or strange in {"", None}
        assert taken.reason.isprintable()


def test_what_the_adapter_stumbles_over_is_a_dead_letter_and_holds_nothing_up(cloud: Cloud) -> None:
    cloud.directory.fails = ZeroDivisionError("sw0rdfish")
    taken = take(cloud.adapter, state("Starting", "Running", 1))

    assert taken.result is Result.DEAD_LETTER
    (letter,) = cloud.mailbox.dead_letters(9)
    assert "unforeseen ZeroDivisionError at cloud.py:" in letter.reason
    assert "sw0rdfish" not in letter.reason


def test_parameters_of_user_data_stand_in_the_metadata(cloud: Cloud) -> None:
    shown = machine(UUID, hypervisor="KVM", userdatadetails="{role=web, size = a=b, empty=, admin_pass=x}")
    cloud.directory.vm = record_of(UUID, shown)
    cloud.take(state("Starting", "Running", 1))
    metadata = cloud.guest().metadata
    assert metadata is not None
    assert metadata.extra == {"role": "web", "size": "a=b"}
