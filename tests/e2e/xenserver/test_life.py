"""The life of a config drive on XenServer, from the event to what is in the VM's drive, as the first design has it.

Its sentences, and their tests (`life`: `test_deploy_start_reset_stop_start_destroy`, here; `iso_srs`:
tests/integration/xenserver/test_iso_srs.py; `positions`: test_positions.py there):

* "Config drive contains the user VM related userdata, metadata, ssh key and password files. These files are packed in
  an ISO file", "Only ISO format config drive is supported": life;
* "During VM deployment CS creates the config drive ISO and places in the primary storage where VM root disk is
  present": life, after `deploy`, for a shared, a local and a block storage;
* "In xenserver a new config drive ISO SR get created in the primary storage where root volume [...] is preset":
  iso_srs, `test_the_images_of_all_vms_lie_in_one_sr_on_the_storage_of_their_root_disks`;
* "All the VMs config drive ISOs are placed in this SR": the same, and here `test_thirty_vms_...`;
* "During the VM start this ISO is attached to VM as CD disk", "attach this iso to the VM in read only": life, and
  positions, `test_a_life`: a disk only where data disks have both places of a CD;
* "The device is created by label, so the device id not always same", "The default label is 'config'": life has the
  label, positions `test_a_life` the devices;
* "Config drive get deleted when VM got stopped/destroyed", "When VM is destroyed, ISO from the hypervisor get deleted":
  life;
* "On vm start config drive ISO is generated and placed in primary storage to attach it to VM": life, the second start;
* "When user VM password is reset, updated, On VM start ISO with new password get attached to VM": life, the third
  start;
* "On vm migration the config drive ISO get attached to VM on destination host": test_migration.py;
* "For each VM an ISO will be created. One user VM can't have access to other user VM config drive ISO": here
  `test_thirty_vms_...`; tests/contract/test_drive.py,
  `test_the_orchestrator_s_attach_and_another_vm_s_image_touch_nothing`.
"""

import pytest

from configdrive.contract.outcome import Status
from configdrive.model import Place
from rigs.fleet import Fleet
from rigs.iso_files import read_iso
from tests.e2e.orchestrator import GUEST, PASSWORD
from tests.e2e.xenserver.conftest import NewVm
from tests.e2e.xenserver.life import Life
from tests.integration.xenserver.cloud import BLOCK_A, LOCAL_A, NFS, A, B, Cloud

PASSWORD_FILE = "cloudstack/password/vm_password.txt"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPbDOqbxebWnKOpUdNN61e9EwJgMsveZLdVrDMKJDAw9 me"
ALL: dict[str, object] = {**GUEST, "metadata": {"vm_id": "14"}, "ssh_keys": [{"name": "mine", "key": KEY}]}
WRITTEN = {
    PASSWORD_FILE: PASSWORD,
    "cloudstack/userdata/user_data.txt": "#!/bin/sh\necho hello\n",
    "cloudstack/metadata/vm_id.txt": "14",
    "cloudstack/metadata/public_keys.txt": KEY,
}
LABEL = slice(16 * 2048 + 40, 16 * 2048 + 72)
VMS = 30


def files_of(vm: Life) -> dict[str, bytes]:
    medium = vm.medium()
    assert medium is not None
    return read_iso(medium)


@pytest.mark.parametrize("place", [NFS, LOCAL_A, BLOCK_A])
def test_deploy_start_reset_stop_start_destroy(new_vm: NewVm, cloud: Cloud, place: Place) -> None:
    vm = new_vm(place)
    deployed = vm.send("deploy", guest=ALL)
    assert (deployed.status, deployed.facts["storage"]) == (Status.APPLIED, place.storage)
    assert (len(vm.images()), vm.medium()) == (1, None)

    started = vm.send("start")
    assert (started.status, started.facts["attach"], started.facts["password"]) == (
        Status.APPLIED,
        "inserted",
        "on_drive",
    )
    vm.power_on()
    (drive,) = cloud.config_drives(vm.vm)
    assert (drive.kind, drive.mode, drive.attached) == ("CD", "RO", True)
    assert drive.content is not None
    assert drive.content[LABEL].decode().strip() == "config"
    assert list(vm.images().values()) == [drive.content]
    files = files_of(vm)
    assert {path: files[path].decode() for path in WRITTEN} == WRITTEN

    changed = vm.send("password_reset", guest={"password": "changed"}, apply="now")
    assert changed.facts["attach"] == "inserted"
    assert files_of(vm)[PASSWORD_FILE] == b"changed"
    assert len(vm.images()) == 1

    vm.power_off()
    assert vm.send("stop").status is Status.APPLIED
    assert (vm.images(), vm.medium()) == ({}, None)

    assert vm.send("start").status is Status.APPLIED
    assert PASSWORD_FILE not in files_of(vm)
    assert vm.send("stop").status is Status.APPLIED
    assert vm.send("password_reset", guest={"password": "new"}).status is Status.APPLIED
    assert vm.send("start").status is Status.APPLIED
    assert files_of(vm)[PASSWORD_FILE] == b"new"
    assert vm.send("destroy").status is Status.APPLIED
    assert (vm.images(), vm.medium()) == ({}, None)


def test_thirty_vms_started_at_once_by_eight_workers_get_one_sr_thirty_images_and_no_wrong_drive(
    new_vm: NewVm, cloud: Cloud
) -> None:
    vms = [new_vm(host=(A, B)[number % 2]) for number in range(VMS)]
    others = set(cloud.images(NFS))
    events = [vm.publish("start", guest={"password": f"{PASSWORD}-{vm.script.uuid}"}) for vm in vms]
    for vm, event in zip(vms, events, strict=True):
        outcome = vm.outcome(event)
        assert (outcome.status, outcome.facts["attach"]) == (Status.APPLIED, "inserted")
    shared = [record for record in cloud.iso_srs() if record["shared"]]
    assert len(shared) == 1
    assert len(set(cloud.images(NFS)) - others) == VMS
    for vm in vms:
        assert files_of(vm)[PASSWORD_FILE] == f"{PASSWORD}-{vm.script.uuid}".encode()
        (drive,) = cloud.config_drives(vm.vm)
        assert drive.sr == shared[0]["uuid"]


def test_nothing_of_the_password_is_in_logs_or_xapi(new_vm: NewVm, fleet: Fleet, cloud: Cloud) -> None:
    vm = new_vm()
    vm.send("start", guest={"password": "correct-horse-battery"})
    assert "correct-horse-battery" not in fleet.log
    assert cloud.pool.password not in fleet.log
    records = [cloud.call(f"{kind}.get_all_records") for kind in ("VM", "VBD", "VDI", "SR", "task")]
    assert "correct-horse-battery" not in repr(records)
