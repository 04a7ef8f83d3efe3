"""The translation of an SDK's faults into the taxonomy: each driver says how it reads its own, the rest is here."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from configdrive.errors import Code, FleetError, error_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Fault:
    """What an SDK's exception means.

    Args:
        code: of the taxonomy.
        text: what the SDK said of it.
        remedy: instead of the driver's usual one for this code.
        chained: whether the exception itself may be shown; not when it may quote what was sent.
    """

    code: Code
    text: str
    remedy: str = ""
    chained: bool = True


class Translator:
    """Turns whatever leaves a driver into a `FleetError`.

    Args:
        read: says what an exception means; `None` for one that is nobody's fault, such as a soft time limit.
        remedies: the usual one of each code.
    """

    def __init__(self, read: Callable[[Exception], Fault | None], remedies: Mapping[Code, str]) -> None:
        self._read = read
        self._remedies = remedies

    def error(self, code: Code, detail: str, remedy: str = "") -> FleetError:
        """Make the kind of error that belongs to the code, with its usual remedy unless another is given."""
        return error_of(code, detail, remedy or self._remedies.get(code, ""))

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        """Translate what is raised inside; the detail begins with `what`."""
        try:
            yield
        except FleetError:
            raise
        except Exception as error:
            fault = self._read(error)
            if fault is None:
                raise
            cause = error if fault.chained else None
            raise self.error(fault.code, f"{what}: {fault.text}", fault.remedy) from cause


def os_reason(error: OSError) -> str:
    """Say in a few words what the operating system refused."""
    return error.strerror or str(error) or type(error).__name__
