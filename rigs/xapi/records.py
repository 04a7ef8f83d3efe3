"""The classes of the XenAPI that the server has."""

from __future__ import annotations

from rigs.xapi.fields import NEVER, NULL, ClassInfo, Record
from rigs.xapi.fields_pool import HOST, HOST_METRICS, POOL, SESSION, TASK
from rigs.xapi.fields_storage import PBD, SR, VBD, VDI
from rigs.xapi.fields_vm import VM

__all__ = ["CLASSES", "NEVER", "NULL", "ClassInfo", "Record"]

CLASSES: dict[str, ClassInfo] = {
    "VM": VM,
    "VBD": VBD,
    "VDI": VDI,
    "SR": SR,
    "PBD": PBD,
    "host": HOST,
    "host_metrics": HOST_METRICS,
    "pool": POOL,
    "task": TASK,
    "session": SESSION,
}
"""Every class by its name on the wire."""
