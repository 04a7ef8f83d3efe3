"""The fields of classes VBD, VDI, SR and PBD."""

from __future__ import annotations

from rigs.xapi.fields import BUSY, NAMED, NAMES, NEVER, NULL, ClassInfo

VBD = ClassInfo(
    {
        "uuid": "",
        **BUSY,
        "VM": NULL,
        "VDI": NULL,
        "device": "",
        "userdevice": "",
        "bootable": False,
        "mode": "RO",
        "type": "CD",
        "unpluggable": True,
        "storage_lock": False,
        "empty": False,
        "other_config": {},
        "currently_attached": False,
        "status_code": 0,
        "status_detail": "",
        "runtime_properties": {},
        "qos_algorithm_type": "",
        "qos_algorithm_params": {},
        "qos_supported_algorithms": [],
        "metrics": NULL,
    },
    frozenset({"bootable", "other_config", "unpluggable", "qos_algorithm_type", "qos_algorithm_params"}),
    (
        *("VM", "VDI", "userdevice", "bootable", "mode", "type", "empty", "other_config"),
        *("qos_algorithm_type", "qos_algorithm_params"),
    ),
)

VDI = ClassInfo(
    {
        **NAMED,
        **BUSY,
        "SR": NULL,
        "VBDs": [],
        "crash_dumps": [],
        "virtual_size": 0,
        "physical_utilisation": 0,
        "type": "user",
        "sharable": False,
        "read_only": False,
        "other_config": {},
        "storage_lock": False,
        "location": "",
        "managed": True,
        "missing": False,
        "parent": NULL,
        "xenstore_data": {},
        "sm_config": {},
        "is_a_snapshot": False,
        "snapshot_of": NULL,
        "snapshots": [],
        "snapshot_time": NEVER,
        "tags": [],
        "allow_caching": False,
        "on_boot": "persist",
        "metadata_of_pool": NULL,
        "metadata_latest": False,
        "is_tools_iso": False,
        "cbt_enabled": False,
    },
    NAMES | {"xenstore_data", "sm_config", "tags", "sharable", "read_only"},
    ("SR", "virtual_size", "type", "sharable", "read_only", "other_config"),
)

SR = ClassInfo(
    {
        **NAMED,
        **BUSY,
        "VDIs": [],
        "PBDs": [],
        "virtual_allocation": 0,
        "physical_utilisation": 0,
        "physical_size": 0,
        "type": "",
        "content_type": "",
        "shared": False,
        "other_config": {},
        "tags": [],
        "sm_config": {},
        "blobs": {},
        "local_cache_enabled": False,
        "introduced_by": NULL,
        "clustered": False,
        "is_tools_sr": False,
    },
    NAMES | {"tags", "sm_config"},
)

PBD = ClassInfo(
    {"uuid": "", "host": NULL, "SR": NULL, "device_config": {}, "currently_attached": False, "other_config": {}},
    frozenset({"other_config", "device_config"}),
    ("host", "SR", "device_config"),
)
