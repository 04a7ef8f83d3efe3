"""The messages that every class has: reading and setting fields, finding records."""

from collections.abc import Callable
from functools import partial

from rigs.xapi import views, where
from rigs.xapi.errors import XapiError
from rigs.xapi.fields import CLASSES, Record
from rigs.xapi.methods import METHODS, Call, Method, message


def find_method(name: str) -> Method:
    """The message of that name, special or generic.

    Raises:
        XapiError: `MESSAGE_METHOD_UNKNOWN`.
    """
    if name not in METHODS:
        kind, _, verb = name.partition(".")
        function = _generic(kind, verb) if kind in CLASSES else None
        if function is None:
            raise XapiError("MESSAGE_METHOD_UNKNOWN", name)
        message(name)(function)
    return METHODS[name]


def _generic(kind: str, verb: str) -> Callable[..., object] | None:
    info = CLASSES[kind]
    if verb in _OF_RECORDS and (verb != "get_by_name_label" or "name_label" in info.fields):
        return partial(_OF_RECORDS[verb], kind)
    for prefix, function in _OF_FIELDS.items():
        field = verb.removeprefix(prefix)
        known = info.fields.keys() if prefix == "get_" else info.settable
        if verb.startswith(prefix) and field in known and (prefix in _PLAIN or isinstance(info.fields[field], dict)):
            return partial(function, kind, field)
    return None


def _get_all(kind: str, call: Call) -> list[str]:
    return list(call.db.find(kind))


def _get_all_records(kind: str, call: Call) -> Record:
    return {reference: views.record(call.world, kind, reference) for reference in call.db.find(kind)}


def _get_all_records_where(kind: str, call: Call, expr: str) -> Record:
    found = [one for one in call.db.find(kind) if where.matches(expr, partial(views.value, call.world, kind, one))]
    return {reference: views.record(call.world, kind, reference) for reference in found}


def _get_by_name_label(kind: str, call: Call, label: str) -> list[str]:
    return list(call.db.find(kind, name_label=label))


def _get_by_uuid(kind: str, call: Call, uuid: str) -> str:
    return call.db.by_uuid(kind, uuid)


def _get_record(kind: str, call: Call, reference: str) -> Record:
    return views.record(call.world, kind, reference)


def _get(kind: str, field: str, call: Call, reference: str) -> object:
    return views.value(call.world, kind, reference, field)


def _set(kind: str, field: str, call: Call, reference: str, value: object) -> None:
    if not isinstance(value, type(CLASSES[kind].fields[field])):
        raise XapiError("FIELD_TYPE_ERROR", "value")
    call.db.row(kind, reference)[field] = value


def _add_to(kind: str, field: str, call: Call, reference: str, key: str, value: str) -> None:  # noqa: PLR0913, PLR0917
    held = call.db.row(kind, reference)[field]
    if key in held:
        raise XapiError("MAP_DUPLICATE_KEY", kind, field, reference, key)  # not recorded; the XenAPI reference has it
    held[key] = value


def _remove_from(kind: str, field: str, call: Call, reference: str, key: str) -> None:
    call.db.row(kind, reference)[field].pop(key, None)


_OF_RECORDS: dict[str, Callable[..., object]] = {
    "get_all": _get_all,
    "get_all_records": _get_all_records,
    "get_all_records_where": _get_all_records_where,
    "get_by_name_label": _get_by_name_label,
    "get_by_uuid": _get_by_uuid,
    "get_record": _get_record,
}
_OF_FIELDS: dict[str, Callable[..., object]] = {
    "get_": _get,
    "set_": _set,
    "add_to_": _add_to,
    "remove_from_": _remove_from,
}
_PLAIN = {"get_", "set_"}
"""Those that fields of every type have, not maps alone."""
