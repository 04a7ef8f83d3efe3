"""Records as a client sees them: rows with the fields that follow from other rows, typed for the wire."""

from collections.abc import Callable

from rigs.xapi import api_vdi, api_vm, vbd_rules
from rigs.xapi.fields import CLASSES, Record
from rigs.xapi.world import World


def record(world: World, kind: str, reference: str) -> Record:
    """One record, as `get_record` answers before it is put on the wire.

    Raises:
        XapiError: `HANDLE_INVALID`.
    """
    world.db.row(kind, reference)
    return {name: value(world, kind, reference, name) for name in CLASSES[kind].fields}


def value(world: World, kind: str, reference: str, name: str) -> object:
    """One field.

    Raises:
        XapiError: `HANDLE_INVALID`.
        KeyError: the class has no such field.
    """
    row = world.db.row(kind, reference)
    compute = _COMPUTED.get((kind, name))
    return compute(world, reference, row) if compute else row[name]


def to_wire(value: object) -> object:
    """Put a value as the XenAPI puts it: integers as strings, nothing as an empty string. It is a copy."""
    if value is None:
        return ""
    if isinstance(value, bool | str | float):
        return value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dict):
        return {str(key): to_wire(item) for key, item in value.items()}
    if isinstance(value, list):
        return [to_wire(item) for item in value]
    raise TypeError(type(value).__name__)


def _referring(kind: str, field: str) -> Callable[[World, str, Record], list[str]]:
    return lambda world, reference, _: list(world.db.find(kind, **{field: reference}))


_COMPUTED: dict[tuple[str, str], Callable[[World, str, Record], object]] = {
    ("VM", "VBDs"): _referring("VBD", "VM"),
    ("VM", "allowed_operations"): lambda world, reference, _: api_vm.allowed(world, reference),
    ("VM", "domain_type"): lambda _, __, row: "pv" if row["is_control_domain"] else vbd_rules.domain_type(row),
    ("VBD", "allowed_operations"): lambda world, reference, _: vbd_rules.allowed(world, reference),
    ("VDI", "VBDs"): _referring("VBD", "VDI"),
    ("VDI", "allowed_operations"): lambda world, reference, _: api_vdi.allowed_operations(world, reference),
    ("SR", "VDIs"): _referring("VDI", "SR"),
    ("SR", "PBDs"): _referring("PBD", "SR"),
}
