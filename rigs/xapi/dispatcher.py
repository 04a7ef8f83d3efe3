"""From a message on the wire to its answer: xapi's checks in xapi's order, planted faults, `Async.`."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from rigs.xapi import api_snapshot, api_sr, api_vbd, api_vdi, api_vm, views
from rigs.xapi.api_pool import end_task, new_task, touch
from rigs.xapi.errors import XapiError
from rigs.xapi.faults import Kind, fail_if_planted
from rigs.xapi.generic import find_method
from rigs.xapi.methods import Call, Method

if TYPE_CHECKING:
    from rigs.xapi.faults import Fault
    from rigs.xapi.world import Machine, World

API = (api_snapshot, api_sr, api_vbd, api_vdi, api_vm)
"""Imported for the messages that they enter."""

_ASYNC = "Async."


@dataclass(frozen=True)
class _Plan:
    """What is planted for a call: a fault, and the seconds that its task takes."""

    fault: Fault | None
    seconds: float


class Dropped(Exception):  # noqa: N818  # a test's wish, no error
    """The connection is to be broken without an answer."""


def answer(world: World, machine: Machine, name: str, arguments: list[object]) -> dict[str, object]:
    """Serve one message that came to a host: `{"Status": "Success", "Value": ...}` or a `Failure`.

    Raises:
        Dropped: a fault is planted that breaks the connection.
    """
    seconds, fault = world.faults.take(name)
    with world.lock:
        world.calls[name] += 1
    if not name.startswith(_ASYNC):
        world.faults.wait(seconds)
        seconds = 0.0
    if fault is not None and fault.kind is Kind.DROP_BEFORE:
        fault.break_off()
        raise Dropped
    try:
        value = _run(world, machine, name, arguments, _Plan(fault, seconds))
    except XapiError as error:
        reply: dict[str, object] = {"Status": "Failure", "ErrorDescription": error.description}
    else:
        reply = {"Status": "Success", "Value": value}
    if fault is not None and fault.kind is Kind.DROP_AFTER:
        fault.break_off()
        raise Dropped
    return reply


def call_directly(world: World, name: str, *arguments: object) -> object:
    """Send a message from inside, to the master: no session, no faults, not counted.

    Raises:
        XapiError: as a client would get it.
    """
    with world.lock:
        method = find_method(name)
        method.check_count(len(arguments))
        return method.function(Call(world, world.machines[world.master], ""), *arguments)


def _run(world: World, machine: Machine, name: str, arguments: list[object], plan: _Plan) -> object:
    is_async = name.startswith(_ASYNC)
    method = find_method(name.removeprefix(_ASYNC))
    if method.with_session:
        session, *arguments = arguments or [""]
    else:
        session = ""
    method.check_count(len(arguments))
    method.check_types(arguments)
    with world.exclusion.alone(world, name, arguments), world.lock:
        if machine.reference in world.booting:
            raise XapiError("HOST_STILL_BOOTING")
        if machine.reference != world.master and not method.on_slaves:
            raise XapiError("HOST_IS_SLAVE", world.machines[world.master].address)
        if method.with_session and not method.on_slaves:
            touch(world, str(session))
        call = Call(world, machine, str(session))
        if is_async:
            return _start(call, name, method, arguments, plan)
        fail_if_planted(plan.fault)
        return views.to_wire(method.function(call, *arguments))  # a copy: rows may change from here on


def _start(call: Call, name: str, method: Method, arguments: list[object], plan: _Plan) -> str:
    world = call.world
    task = new_task(world, call.machine.reference, name)

    def work() -> None:
        world.faults.wait(plan.seconds)
        with world.exclusion.alone(world, method.name, arguments), world.lock:
            try:
                fail_if_planted(plan.fault)
                value = views.to_wire(method.function(call, *arguments))
            except XapiError as error:
                end_task(world, task, error=error.description)
            else:
                end_task(world, task, result=result_text(value))

    threading.Thread(target=work, daemon=True).start()
    return task


def result_text(value: object) -> str:
    """A task's result: a string in the XML of XML-RPC without a type, as xapi writes it."""
    # Of the messages here none that one would send asynchronously answers anything else than a string.
    return f"<value>{escape(str(value))}</value>"
