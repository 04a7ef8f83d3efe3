"""Whatever XAPI says to whatever call, only the fleet's own errors come out, and they tell no secret."""

from __future__ import annotations

import pytest

from rigs.xapi.faults import EXPORT, IMPORT
from tests.contract.rig import failure_of, make_image, verbs
from tests.integration.xenserver.cloud import LOCAL_A, NFS, Cloud

SAID = [
    ("HANDLE_INVALID", "VDI", "OpaqueRef:x"),
    ("VBD_NOT_EMPTY", "OpaqueRef:x"),
    ("SR_BACKEND_FAILURE_43", "", "The VDI already exists", ""),
    ("MAP_DUPLICATE_KEY", "SR", "other_config", "OpaqueRef:x", "configdrive-sr"),
    ("SESSION_INVALID", "OpaqueRef:x"),
    ("OTHER_OPERATION_IN_PROGRESS", "VM", "OpaqueRef:x", "pool_migrate"),
]
CALLS = [
    *("VM.get_all_records_where", "VM.get_record", "VBD.get_all_records_where"),
    *(
        "VBD.create",
        "VBD.insert",
        "VBD.eject",
        "VBD.destroy",
        "VBD.get_record",
        "VDI.create",
        "VDI.get_all_records_where",
    ),
    *("VDI.get_record", "VDI.get_SR", "VDI.destroy", "SR.get_all_records", "SR.create", "SR.scan", "SR.get_record"),
    *("SR.add_to_other_config", "PBD.get_all_records", "host.get_all_records", "task.create", "task.get_record"),
    *("task.destroy", IMPORT, EXPORT, "*"),
]


@pytest.mark.parametrize("said", SAID, ids=lambda said: "-".join(said[:2]).strip("-"))
def test_no_answer_comes_out_as_xapi_gave_it(cloud: Cloud, said: tuple[str, ...]) -> None:
    driver = cloud.driver(timeout=2.0)
    for call in CALLS:
        vm = cloud.vm()
        cloud.pool.faults.fail(call, *said, times=None)
        for verb in verbs(driver, vm, make_image(vm), NFS, LOCAL_A).values():
            failure_of(verb)
        list(driver.check(vm.host))
        cloud.pool.faults.clear()
    vm = cloud.vm()
    for name, verb in verbs(driver, vm, make_image(vm), NFS, LOCAL_A).items():
        assert failure_of(verb) is None, name  # it goes on as if nothing had been
