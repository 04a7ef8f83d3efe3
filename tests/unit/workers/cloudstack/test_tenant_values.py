"""What a tenant can write in CloudStack, through the adapter: each VM has a drive that lacks only the bad value.

A case of `tests/data/cloudstack/tenants/values.json` is what CloudStack says of a VM, and `as`: the same VM without
the bad value. Both must give the same drive.
"""

import json
from typing import Any

import pytest

from configdrive.contents.render import render
from configdrive.contract.events import StartEvent
from configdrive.drive_data import VmData
from configdrive.lifecycle.transitions import vm_of
from configdrive.model import DriveSettings
from rigs.cloudstack import NETWORK, machine, network
from tests.unit.workers.cloudstack.cloud import Cloud
from tests.unit.workers.cloudstack.recorded import FOLDER, UUID, state
from workers.cloudstack.directory import content_of, record_of

CASES: list[dict[str, Any]] = json.loads((FOLDER / "tenants" / "values.json").read_text())

SERVICES = [{"name": name, "provider": [{"name": "ConfigDrive"}]} for name in ("UserData", "Dhcp")]


def drive(fields: dict[str, Any]) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Return the drive of a VM, and what was left out of its event."""
    cloud = Cloud()
    shown = machine(UUID, hypervisor="KVM", **fields)
    cloud.directory.vm = record_of(UUID, shown)
    cloud.directory.data = content_of({NETWORK: network(service=SERVICES)}, {}, "I2Nsb3VkLWNvbmZpZwo=")
    cloud.take(state("Starting", "Running", 1))
    assert cloud.mailbox.dead_letters(1) == []
    (event,) = cloud.events
    assert isinstance(event, StartEvent)
    data = cloud.guest().merged_into(VmData())
    return dict(render(vm_of(None, event), data, None, DriveSettings())), event.data.left_out


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_drive_lacks_only_the_bad_value(case: dict[str, Any]) -> None:
    files, left = drive(case["vm"])
    assert all(one.startswith(field) for one, field in zip(left, case["left_out"], strict=True)), left
    assert files == drive(case["as"])[0]
    assert files["openstack/latest/user_data"] == b"#cloud-config\n"


def test_there_are_sixty_of_them() -> None:
    assert len(CASES) >= 60
