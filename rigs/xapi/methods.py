"""The table of the XenAPI's messages, and what a message is called with."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, get_origin

from rigs.xapi.database import Database
from rigs.xapi.errors import XapiError
from rigs.xapi.fields import CLASSES
from rigs.xapi.world import World, XapiHost

F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True)
class Call:
    """The circumstances of one message: the pool, the host that received it, the reference of the caller's session."""

    world: World
    host: XapiHost
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

    def check(self, arguments: list[object]) -> None:
        """Refuse a wrong number of parameters, of which the session is none, and one of a wrong type.

        Raises:
            XapiError: `MESSAGE_PARAMETER_COUNT_MISMATCH`; `FIELD_TYPE_ERROR` with the parameter's name, as the XenAPI
                reference has it.
        """
        least = sum(1 for parameter in self.parameters if parameter.default is parameter.empty)
        if not least <= len(arguments) <= len(self.parameters):
            raise XapiError("MESSAGE_PARAMETER_COUNT_MISMATCH", self.name, str(least), str(len(arguments)))
        for parameter, argument in zip(self.parameters, arguments, strict=False):
            wanted = get_origin(parameter.annotation) or parameter.annotation
            if wanted in _TYPES and not isinstance(argument, _TYPES[wanted]):
                raise XapiError("FIELD_TYPE_ERROR", parameter.name)


_TYPES: dict[object, tuple[type, ...]] = {str: (str,), bool: (bool,), dict: (dict,), int: (int, str)}

METHODS: dict[str, Method] = {}
"""Every message that was entered, by name."""


def message(*names: str, with_session: bool = True) -> Callable[[F], F]:
    """Enter a function that takes a `Call` and then the message's parameters.

    Args:
        names: of the messages.
        with_session: whether their first parameter on the wire is a session.
    """

    def enter(function: F) -> F:
        parameters = tuple(inspect.signature(function, eval_str=True).parameters.values())[1:]
        METHODS.update({name: Method(name, function, parameters, with_session) for name in names})
        return function

    return enter


def take(record: dict[str, Any], kind: str) -> None:
    """See that a constructor's record has what its class requires, in the order in which xapi looks.

    Raises:
        XapiError: the first that is missing.
    """
    for name in CLASSES[kind].required:
        if name not in record:
            raise XapiError("INTERNAL_ERROR", f'Server_helpers.Dispatcher_FieldNotFound("{name}")')
