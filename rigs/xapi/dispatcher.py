"""From a message on the wire to its answer: xapi's checks in xapi's order, planted faults."""

from contextlib import nullcontext

from rigs.xapi import api_sr, api_vbd, api_vdi, api_vm, views
from rigs.xapi.api_pool import check_session
from rigs.xapi.errors import XapiError
from rigs.xapi.faults import Fault, Kind, fail_if_planted
from rigs.xapi.generic import find_method
from rigs.xapi.methods import Call
from rigs.xapi.world import World, XapiHost

API = (api_sr, api_vbd, api_vdi, api_vm)
"""Imported for the messages that they enter."""


class Dropped(Exception):  # noqa: N818  # a test's wish, no error
    """The connection is to be broken without an answer."""


def answer(world: World, host: XapiHost, name: str, arguments: list[object]) -> dict[str, object]:
    """Serve one message that came to a host: `{"Status": "Success", "Value": ...}` or a `Failure`.

    Raises:
        Dropped: a fault is planted that breaks the connection.
    """
    seconds, fault = begin(world, name)
    world.faults.wait(seconds)
    try:
        reply = {"Status": "Success", "Value": _run(world, host, name, arguments, fault)}
    except XapiError as error:
        reply = {"Status": "Failure", "ErrorDescription": error.description}
    if fault is not None and fault.kind is Kind.DROP_AFTER:
        fault.break_off()
        raise Dropped
    return reply


def begin(world: World, name: str) -> tuple[float, Fault | None]:
    """Count a message, and say what is planted for it: the seconds to wait, and what happens then.

    Raises:
        Dropped: a fault is planted that breaks the connection at once.
    """
    seconds, fault = world.faults.take(name)
    with world.lock:
        world.calls[name] += 1
        world.called.append(name)
    if fault is not None and fault.kind is Kind.DROP_BEFORE:
        world.faults.wait(seconds)
        fault.break_off()
        raise Dropped
    return seconds, fault


def call_directly(world: World, name: str, *arguments: object) -> object:
    """Send a message from inside, to the master: no session, no faults, not counted.

    Raises:
        XapiError: as a client would get it.
    """
    with world.lock:
        return find_method(name).function(Call(world, world.hosts[world.master], ""), *arguments)


def _run(world: World, host: XapiHost, name: str, arguments: list[object], fault: Fault | None) -> object:
    method, session = find_method(name), ""
    if method.with_session:
        session, *arguments = [str(arguments[0]) if arguments else "", *arguments[1:]]
    method.check(arguments)
    sr = _changed_sr(world, name, arguments)
    with nullcontext() if sr is None else world.exclusion.alone(sr, world.faults.wait), world.lock:
        if host.reference in world.booting:
            raise XapiError("HOST_STILL_BOOTING")
        if host.reference != world.master:
            raise XapiError("HOST_IS_SLAVE", world.hosts[world.master].address)
        if method.with_session:
            check_session(world, session)
        fail_if_planted(fault)
        # A copy: rows may change from here on.
        return views.to_wire(method.function(Call(world, host, session), *arguments))


def _changed_sr(world: World, name: str, arguments: list[object]) -> str | None:
    """The SR of a message that one at a time may do: of a constructor's record, of a VDI, or the one itself."""
    if name not in {"VDI.create", "VDI.destroy", "SR.scan"}:
        return None
    what = arguments[0]
    if isinstance(what, dict):
        return str(what.get("SR"))
    with world.lock:
        return str(world.db.row("VDI", str(what))["SR"] if world.db.has("VDI", str(what)) else what)
