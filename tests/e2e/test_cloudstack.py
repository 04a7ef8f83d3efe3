"""From what CloudStack publishes to the drive in the VM: a real adapter, a real worker, a simulated host.

The payloads are those of `tests/data/cloudstack`, about VMs of our own.
"""

import json
import re
import uuid
from collections.abc import Iterator

import pytest

from configdrive.contract.outcome import Status
from configdrive.model import VmUuid
from rigs.certificates import Certificates
from rigs.cloudstack import CloudStack, machine
from rigs.process import LOOPBACK, wait_until
from tests.e2e.site import Site
from tests.integration.cloudstack.site import AdapterSite, Hook
from tests.unit.fakes.fleet import read_image
from tests.unit.workers.cloudstack.recorded import NEW_PASSWORD, UUID, body

USER_DATA = "I2Nsb3VkLWNvbmZpZwo="


@pytest.fixture(scope="module")
def cloudstack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudStack]:
    with CloudStack(Certificates.make(tmp_path_factory.mktemp("pki"), LOOPBACK)) as server:
        yield server


@pytest.fixture(scope="module")
def place(
    site: Site, tmp_path_factory: pytest.TempPathFactory, cloudstack: CloudStack
) -> Iterator[tuple[Site, AdapterSite]]:
    with AdapterSite(tmp_path_factory.mktemp("adapter"), site, cloudstack) as adapters:
        yield site, adapters


@pytest.fixture(scope="module")
def hook(place: tuple[Site, AdapterSite], cloudstack: CloudStack) -> Hook:
    return place[1].webhook(Certificates(cloudstack.ca_file.parent))


class Guest:
    """One VM in CloudStack, and its drive on the simulated host."""

    def __init__(self, place: tuple[Site, AdapterSite], cloudstack: CloudStack) -> None:
        self.uuid = str(uuid.uuid4())
        self.site, self.adapters = place
        self._known = cloudstack
        cloudstack.vms[self.uuid] = machine(self.uuid)
        cloudstack.user_data[self.uuid] = USER_DATA

    def comes_to(self, state: str) -> None:
        """Bring it into a state."""
        self._known.vms[self.uuid]["state"] = state

    def recorded(self, name: str) -> bytes:
        """Return a recorded payload, about this VM, and in a second of its own."""
        text = body(name).decode().replace(UUID, self.uuid)
        return re.sub(r'"[0-9a-f-]{36}", *"commandEventType', f'"{uuid.uuid4()}", "commandEventType', text).encode()

    def read(self, *names: str) -> None:
        """Let the adapter read payloads from a pipe: jobs and states come by no webhook."""
        lines = b"\n".join(json.dumps(json.loads(self.recorded(name))).encode() for name in names)
        shown = self.adapters.inside("read", "-", stdin=lines)
        assert shown.exit_code == 0, shown.output

    def drive(self) -> dict[str, bytes] | None:
        """Return the files that it sees; `None` without a drive."""
        world, vm = self.site.cloud.world, VmUuid(self.uuid)
        image = None if world.vm(vm) is None else world.medium(vm)
        return None if image is None else read_image(image)

    def wait(self, types: list[str]) -> None:
        """Wait until events of these types, no more, have been applied."""

        def applied() -> bool:
            everything = [outcome for _, outcome in self.site.mailbox.outcomes("0", 0.01) if outcome is not None]
            outcomes = [outcome for outcome in everything if outcome.vm_uuid == self.uuid]
            assert all(outcome.status is Status.APPLIED for outcome in outcomes), outcomes
            return [outcome.event_type for outcome in outcomes] == types

        wait_until(applied, f"{types} of VM {self.uuid}", timeout=30)


@pytest.fixture
def guest(place: tuple[Site, AdapterSite], cloudstack: CloudStack) -> Guest:
    return Guest(place, cloudstack)


def test_a_recorded_life_gives_the_vm_its_drive_and_takes_it_away(hook: Hook, guest: Guest) -> None:
    payload = guest.recorded("action-start-completed")
    assert hook.post(payload) == 200
    assert hook.post(payload) == 200
    guest.wait(["start"])
    drive = guest.drive()
    assert drive is not None
    assert drive["openstack/latest/user_data"] == drive["cloudstack/userdata/user_data.txt"] == b"#cloud-config\n"
    assert drive["cloudstack/metadata/vm_id.txt"].strip() == guest.uuid.encode()
    assert drive["cloudstack/metadata/local_hostname.txt"].strip() == b"web-1"
    assert drive["cloudstack/metadata/availability_zone.txt"].strip() == b"Zone 1"
    assert json.loads(drive["openstack/latest/meta_data.json"])["public_keys"].keys() == {"mine"}
    (nic,) = json.loads(drive["openstack/latest/network_data.json"])["networks"]
    assert nic["type"] == "ipv4_dhcp"
    assert not any("password" in path for path in drive)

    guest.comes_to("Stopped")
    guest.read("job-resetpassword-strings", "job-resetpassword-strings")
    guest.wait(["start", "stop", "password_reset"])
    assert guest.drive() is None

    guest.comes_to("Running")
    guest.read("state-running-post", "short-start-completed", "state-running-pre")
    guest.wait(["start", "stop", "password_reset", "start"])
    drive = guest.drive()
    assert drive is not None
    assert drive["cloudstack/password/vm_password.txt"].strip() == NEW_PASSWORD.encode()

    guest.comes_to("Expunging")
    guest.read("short-start-completed")
    guest.wait(["start", "stop", "password_reset", "start", "destroy"])
    assert guest.site.cloud.images(guest.uuid) == []
    said = guest.site.log + guest.adapters.log
    assert [secret for secret in (NEW_PASSWORD, USER_DATA) if secret in said] == []


def test_a_forged_payload_attaches_nothing(hook: Hook, guest: Guest) -> None:
    assert hook.post(guest.recorded("action-start-completed"), signature="") == 401

    assert guest.drive() is None
    assert guest.site.mailbox.view(VmUuid(guest.uuid)) is None
