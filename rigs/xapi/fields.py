"""The classes of the XenAPI that the server has: fields with defaults, what may be set, what a constructor wants.

Names, types and defaults: the XenAPI reference (https://xapi-project.github.io/xen-api/), the version of XenServer and
XCP-ng 8.3; of its fields those that somebody here reads, or that were recorded. An `int` here is a 64-bit integer there
and travels as a string. Fields that follow from other rows (`SR.VDIs`, `allowed_operations`, ...) are computed in
`views.py`.
"""

from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]
NULL = "OpaqueRef:NULL"


@dataclass(frozen=True)
class ClassInfo:
    """One class.

    Args:
        fields: by name, each with its default.
        settable: fields with `set_`, and for maps `add_to_` and `remove_from_`.
        required: what the constructor's record must hold, in the order in which xapi looks.
    """

    fields: Record
    settable: frozenset[str] = field(default_factory=frozenset)
    required: tuple[str, ...] = ()


_NAMED: Record = {"uuid": "", "name_label": "", "name_description": ""}
_BUSY: Record = {"allowed_operations": [], "current_operations": {}}
_NAMES = frozenset({"name_label", "name_description", "other_config"})

CLASSES: dict[str, ClassInfo] = {
    "VM": ClassInfo(
        {
            **_NAMED,
            **_BUSY,
            "power_state": "Halted",
            "is_a_template": False,
            "resident_on": NULL,
            "affinity": NULL,
            "VBDs": [],
            "HVM_boot_policy": "",
            "HVM_boot_params": {},
            "other_config": {},
            "is_control_domain": False,
            "ha_restart_priority": "",
            "is_a_snapshot": False,
            "blocked_operations": {},
            "domain_type": "unspecified",
        },
        _NAMES | {"HVM_boot_policy", "HVM_boot_params"},
    ),
    "VBD": ClassInfo(
        {
            "uuid": "",
            **_BUSY,
            "VM": NULL,
            "VDI": NULL,
            "device": "",
            "userdevice": "",
            "bootable": False,
            "mode": "RO",
            "type": "CD",
            "unpluggable": True,
            "empty": False,
            "other_config": {},
            "currently_attached": False,
        },
        frozenset({"other_config"}),
        (
            *("VM", "VDI", "userdevice", "bootable", "mode", "type", "empty", "other_config"),
            *("qos_algorithm_type", "qos_algorithm_params"),
        ),
    ),
    "VDI": ClassInfo(
        {
            **_NAMED,
            **_BUSY,
            "SR": NULL,
            "VBDs": [],
            "virtual_size": 0,
            "physical_utilisation": 0,
            "type": "user",
            "sharable": False,
            "read_only": False,
            "other_config": {},
            "location": "",
            "managed": True,
            "sm_config": {},
        },
        _NAMES,
        ("SR", "virtual_size", "type", "sharable", "read_only", "other_config"),
    ),
    "SR": ClassInfo(
        {
            **_NAMED,
            **_BUSY,
            "VDIs": [],
            "PBDs": [],
            "physical_size": 0,
            "type": "",
            "content_type": "",
            "shared": False,
            "other_config": {},
            "sm_config": {},
        },
        _NAMES,
    ),
    "PBD": ClassInfo(
        {"uuid": "", "host": NULL, "SR": NULL, "device_config": {}, "currently_attached": False, "other_config": {}},
        required=("host", "SR", "device_config"),
    ),
    "host": ClassInfo(
        {**_NAMED, "enabled": True, "software_version": {}, "address": "", "metrics": NULL, "control_domain": NULL}
    ),
    "host_metrics": ClassInfo({"uuid": "", "live": True}),
    "pool": ClassInfo({**_NAMED, "master": NULL, "ha_enabled": False}),
    "task": ClassInfo({**_NAMED, "status": "pending", "progress": 0.0, "result": "", "error_info": []}),
    "session": ClassInfo({"uuid": "", "this_host": NULL, "is_local_superuser": True}),
}
"""Every class by its name on the wire."""
