"""Whatever XAPI says to whatever call, only the fleet's own errors come out, and they tell no secret."""

import pytest

from configdrive.errors import FleetError
from configdrive.model import Vm
from rigs.xapi.faults import EXPORT, IMPORT
from tests.contract.rig import failure_of, make_image, verbs
from tests.integration.xenserver.cloud import LOCAL_A, NFS, A, Cloud
from workers.hypervisors.xenserver.driver import XenServerDriver
from workers.hypervisors.xenserver.names import VM_MARK

SAID: list[tuple[tuple[str, ...], set[str]]] = [
    (("HANDLE_INVALID", "VDI", "OpaqueRef:x"), set()),
    (("OTHER_OPERATION_IN_PROGRESS", "VM", "OpaqueRef:x", "pool_migrate"), set()),
    (("VBD_NOT_EMPTY", "OpaqueRef:x"), {"VBD.insert", "VBD.create"}),
    (("SR_BACKEND_FAILURE_43", "", "The VDI already exists", ""), {"VDI.create"}),
    (("SESSION_INVALID", "OpaqueRef:x"), {"VM.get_record", "VDI.create", IMPORT, EXPORT, "*"}),
]
"""With the calls that are answered so: all, or those to which XAPI can say it."""


def new_vm(cloud: Cloud, *, drive: bool) -> Vm:
    """Make a VM: off and without a drive, or running with an empty one for its image."""
    vm = cloud.vm()
    if drive:
        cloud.site.add_cd(vm.uuid, "2", {VM_MARK: vm.uuid})
        cloud.site.start_vm(vm.uuid)
    return vm


def live(driver: XenServerDriver, vm: Vm) -> dict[str, FleetError | None]:
    """Do all that is ever done with a VM's images; says how each failed."""
    return {name: failure_of(verb) for name, verb in verbs(driver, vm, make_image(vm), NFS, LOCAL_A).items()}


@pytest.mark.parametrize(("said", "to"), SAID, ids=[said[0] for said, _ in SAID])
def test_no_answer_comes_out_as_xapi_gave_it(cloud: Cloud, said: tuple[str, ...], to: set[str]) -> None:
    driver, calls = cloud.driver(timeout=2.0), cloud.pool.calls
    asked = []
    for do in (
        lambda: live(driver, new_vm(cloud, drive=False)),
        lambda: live(driver, new_vm(cloud, drive=True)),
        lambda: list(driver.check(A)),
    ):
        calls.clear()
        do()
        asked.append(set(calls))
    bare, with_drive, look = asked
    assert {IMPORT, EXPORT, "VBD.create", "VBD.insert", "VBD.eject", "VDI.destroy"} <= bare | with_drive
    for call in sorted(to or {*bare, *with_drive, *look, "*"}):
        cloud.pool.faults.fail(call, *said, times=None)
        live(driver, new_vm(cloud, drive=call not in bare))
        if call in {*look, "*"}:
            list(driver.check(A))
        cloud.pool.faults.clear()
    well = live(driver, new_vm(cloud, drive=False))
    assert set(well.values()) == {None}, well  # it goes on as if nothing had been
