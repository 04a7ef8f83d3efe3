"""Records as a client sees them: rows with the fields that follow from other rows, typed for the wire."""

from __future__ import annotations

import datetime as dt
import xmlrpc.client
from typing import TYPE_CHECKING

from rigs.xapi import api_vdi, vbd_rules, vm_rules
from rigs.xapi.records import CLASSES, NULL, Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from rigs.xapi.world import World


def record(world: World, kind: str, reference: str) -> Record:
    """One record, as `get_record` answers before it is put on the wire.

    Raises:
        XapiError: `HANDLE_INVALID`.
    """
    row = world.db.row(kind, reference)
    shown = {name: row[name] for name in CLASSES[kind].fields}
    for name, compute in _COMPUTED.get(kind, {}).items():
        shown[name] = compute(world, reference, row)
    return shown


def value(world: World, kind: str, reference: str, name: str) -> object:
    """One field."""
    row = world.db.row(kind, reference)
    compute = _COMPUTED.get(kind, {}).get(name)
    return compute(world, reference, row) if compute else row[name]


def to_wire(value: object) -> object:
    """Put a value as the XenAPI puts it: integers as strings, times as dateTime, nothing as an empty string."""
    if value is None:
        return ""
    if isinstance(value, bool | str | float):
        return value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dt.datetime):
        return xmlrpc.client.DateTime(value.strftime("%Y%m%dT%H:%M:%SZ"))
    if isinstance(value, dict):
        return {str(key): to_wire(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_wire(item) for item in value]
    raise TypeError(type(value).__name__)


def _referring(kind: str, field: str) -> Callable[[World, str, Record], list[str]]:
    return lambda world, reference, _: list(world.db.find(kind, **{field: reference}))


def _domain_type(_: World, __: str, row: Record) -> str:
    return "pv" if row["is_control_domain"] else vbd_rules.domain_type(row)


_COMPUTED: dict[str, dict[str, Callable[[World, str, Record], object]]] = {
    "VM": {
        "VBDs": _referring("VBD", "VM"),
        "snapshots": _referring("VM", "snapshot_of"),
        "allowed_operations": lambda world, reference, _: vm_rules.allowed(world, reference),
        "domain_type": _domain_type,
    },
    "VBD": {"allowed_operations": lambda world, reference, _: vbd_rules.allowed(world, reference)},
    "VDI": {
        "VBDs": _referring("VBD", "VDI"),
        "allowed_operations": lambda world, reference, _: api_vdi.allowed_operations(world, reference),
    },
    "SR": {"VDIs": _referring("VDI", "SR"), "PBDs": _referring("PBD", "SR")},
    "host": {"PBDs": _referring("PBD", "host"), "resident_VMs": _referring("VM", "resident_on")},
}

__all__ = ["NULL", "record", "to_wire", "value"]
