"""The table of the XenAPI's messages, and what a message is called with."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from rigs.xapi.errors import XapiError

if TYPE_CHECKING:
    from rigs.xapi.database import Database
    from rigs.xapi.world import Machine, World

F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True)
class Call:
    """The circumstances of one message.

    Attributes:
        world: the pool.
        machine: the host that received it.
        session: the reference of the caller's session.
    """

    world: World
    machine: Machine
    session: str

    @property
    def db(self) -> Database:
        """The rows."""
        return self.world.db


@dataclass(frozen=True)
class Method:
    """One message: what does it, and what it takes besides the session."""

    name: str
    function: Callable[..., object]
    parameters: tuple[inspect.Parameter, ...]
    with_session: bool
    on_slaves: bool

    def check_count(self, count: int) -> None:
        """Refuse a wrong number of parameters; the session does not count.

        Raises:
            XapiError: `MESSAGE_PARAMETER_COUNT_MISMATCH`.
        """
        least = sum(1 for parameter in self.parameters if parameter.default is parameter.empty)
        if not least <= count <= len(self.parameters):
            raise XapiError("MESSAGE_PARAMETER_COUNT_MISMATCH", self.name, str(least), str(count))

    def check_types(self, arguments: list[object]) -> None:
        """Refuse a parameter of a wrong type.

        Raises:
            XapiError: `FIELD_TYPE_ERROR` with the parameter's name, as the XenAPI reference has it.
        """
        for parameter, argument in zip(self.parameters, arguments, strict=False):
            wanted = str(parameter.annotation).partition("[")[0]
            if wanted in _TYPES and not isinstance(argument, _TYPES[wanted]):
                raise XapiError("FIELD_TYPE_ERROR", parameter.name)


_TYPES: dict[str, type | tuple[type, ...]] = {"str": str, "bool": bool, "dict": dict, "list": list, "int": (int, str)}

METHODS: dict[str, Method] = {}
"""Every message that is more than reading or setting a field, by name."""


def message(name: str, *, with_session: bool = True, on_slaves: bool = False) -> Callable[[F], F]:
    """Enter a function that takes a `Call` and then the message's parameters.

    Args:
        name: of the message.
        with_session: whether its first parameter on the wire is a session.
        on_slaves: whether a slave answers it, too.
    """

    def enter(function: F) -> F:
        parameters = tuple(inspect.signature(function).parameters.values())[1:]
        METHODS[name] = Method(name, function, parameters, with_session, on_slaves)
        return function

    return enter


def take(record: dict[str, Any], names: tuple[str, ...]) -> None:
    """See that a constructor's record has what it needs, in the order in which xapi looks.

    Raises:
        XapiError: the first that is missing.
    """
    for name in names:
        if name not in record:
            raise XapiError("INTERNAL_ERROR", f'Server_helpers.Dispatcher_FieldNotFound("{name}")')
