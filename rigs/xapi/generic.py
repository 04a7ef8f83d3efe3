"""The messages that every class has: reading and setting fields, finding records."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter
from typing import TYPE_CHECKING

from rigs.xapi import views, where
from rigs.xapi.errors import XapiError
from rigs.xapi.methods import METHODS, Call, Method
from rigs.xapi.records import CLASSES

if TYPE_CHECKING:
    from rigs.xapi.fields import Record


def find_method(name: str) -> Method:
    """The message of that name, special or generic.

    Raises:
        XapiError: `MESSAGE_METHOD_UNKNOWN`.
    """
    kind, _, verb = name.partition(".")
    if name not in METHODS:
        function, parameters = _generic(kind, verb) if kind in CLASSES else (None, ())
        if function is None:
            raise XapiError("MESSAGE_METHOD_UNKNOWN", name)
        described = tuple(
            Parameter(parameter, Parameter.POSITIONAL_ONLY, annotation=annotation)
            for parameter, annotation in parameters
        )
        METHODS[name] = Method(name, function, described, with_session=True, on_slaves=False)
    return METHODS[name]


_Answer = tuple[Callable[..., object] | None, tuple[tuple[str, str], ...]]


def _generic(kind: str, verb: str) -> _Answer:
    return _many(kind, verb) or _one(kind, verb) or _setter(kind, verb) or (None, ())


def _many(kind: str, verb: str) -> _Answer | None:
    def get_all(call: Call) -> list[str]:
        return call.db.references(kind)

    def get_all_records(call: Call) -> Record:
        return {reference: views.record(call.world, kind, reference) for reference in call.db.references(kind)}

    def get_all_records_where(call: Call, expression: str) -> Record:
        matches = where.parse(expression)
        return {reference: found for reference, found in get_all_records(call).items() if matches(found)}

    def get_by_name_label(call: Call, label: str) -> list[str]:
        return list(call.db.find(kind, name_label=label))

    if kind == "session":
        return None
    if verb == "get_by_name_label" and CLASSES[kind].named:
        return get_by_name_label, (("label", "str"),)
    if verb == "get_all_records_where":
        return get_all_records_where, (("expr", "str"),)
    if verb in {"get_all", "get_all_records"}:
        return {"get_all": get_all, "get_all_records": get_all_records}[verb], ()
    return None


def _one(kind: str, verb: str) -> _Answer | None:
    def get_record(call: Call, reference: str) -> Record:
        return views.record(call.world, kind, reference)

    def get_by_uuid(call: Call, uuid: str) -> str:
        return call.db.by_uuid(kind, uuid)

    def get(call: Call, reference: str) -> object:
        return views.value(call.world, kind, reference, verb.removeprefix("get_"))

    if verb == "get_record":
        return get_record, (("self", "str"),)
    if verb == "get_by_uuid":
        return get_by_uuid, (("uuid", "str"),)
    if verb.startswith("get_") and verb.removeprefix("get_") in CLASSES[kind].fields:
        return get, (("self", "str"),)
    return None


def _setter(kind: str, verb: str) -> _Answer | None:
    info = CLASSES[kind]
    for prefix, holder in (("add_to_", dict), ("remove_from_", dict), ("add_", list), ("remove_", list)):
        field = verb.removeprefix(prefix)
        if verb.startswith(prefix) and field in info.settable and isinstance(info.fields[field], holder):
            return _changer(kind, field, prefix)
    field = verb.removeprefix("set_")
    if not verb.startswith("set_") or field not in info.settable:
        return None

    def set_field(call: Call, reference: str, value: object) -> None:
        call.db.row(kind, reference)[field] = value

    return set_field, (("self", "str"), ("value", type(info.fields[field]).__name__))


def _changer(kind: str, field: str, prefix: str) -> _Answer:
    change, names = _CHANGES[prefix]

    def changer(call: Call, reference: str, *arguments: str) -> None:
        try:
            change(call.db.row(kind, reference)[field], *arguments)
        except _DuplicateKeyError:
            # Not recorded; the XenAPI reference has it.
            raise XapiError("MAP_DUPLICATE_KEY", kind, field, reference, arguments[0]) from None

    return changer, tuple((name, "str") for name in ("self", *names))


class _DuplicateKeyError(Exception):
    """The map has that key."""


def _add_key(held: dict[str, str], key: str, value: str) -> None:
    if key in held:
        raise _DuplicateKeyError
    held[key] = value


def _remove_key(held: dict[str, str], key: str) -> None:
    held.pop(key, None)


def _add(held: list[str], value: str) -> None:
    if value not in held:
        held.append(value)


def _remove(held: list[str], value: str) -> None:
    if value in held:
        held.remove(value)


_CHANGES: dict[str, tuple[Callable[..., None], tuple[str, ...]]] = {
    "add_to_": (_add_key, ("key", "value")),
    "remove_from_": (_remove_key, ("key",)),
    "add_": (_add, ("value",)),
    "remove_": (_remove, ("value",)),
}
