"""One call of a verb, from outside in: its audit lines, faults, latency and time limit, its errors in our words."""

from __future__ import annotations

import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from configdrive.errors import FleetError, TransientCode, TransientError
from workers.hypervisors.simulated.audit import AuditLog, Mark
from workers.hypervisors.simulated.faults import translated
from workers.hypervisors.simulated.hooks import Hooks, Point, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from configdrive.model import HostName, ImageName, Place, VmUuid


class Calls:
    """The edge of the driver: every verb runs inside `call`.

    Args:
        hooks: the faults that wait to be injected.
        audit: where the begin and end of each verb are written.
        latency: what each verb takes at least, in seconds; a verb that is not named takes nothing.
        timeout: seconds after which a hypervisor that does not answer is given up.
    """

    def __init__(self, hooks: Hooks, audit: AuditLog, latency: Mapping[Verb, float], timeout: float) -> None:
        self._hooks = hooks
        self._audit = audit
        self._latency = latency
        self._timeout = timeout

    @contextmanager
    def call(
        self,
        verb: Verb,
        vm: VmUuid | None,
        host: HostName,
        image: ImageName | None = None,
        place: Place | None = None,
    ) -> Iterator[None]:
        """Run the body of a verb.

        Raises:
            FleetError: whatever goes wrong in the body, or was injected.
        """
        with translated(f"{verb} on host {host!r}"), self._audited(verb, vm, image, place):
            self.fire(verb, Point.BEFORE, vm, host)
            self._wait(self._latency.get(verb, 0.0))
            yield
            self.fire(verb, Point.AFTER, vm, host)

    def fire(self, verb: Verb, point: Point, vm: VmUuid | None, host: HostName) -> None:
        """Let happen what was injected for this point."""
        self._hooks.fire(verb, point, vm, host, self._wait)

    @contextmanager
    def _audited(self, verb: Verb, vm: VmUuid | None, image: ImageName | None, place: Place | None) -> Iterator[None]:
        if not self._audit.enabled:
            yield
            return
        file = None if image is None else str(image)
        log = partial(self._audit.write, verb, vm=vm or "", image=file, place=place)
        log(Mark.BEGIN)
        try:
            yield
        except BaseException as error:
            log(Mark.END, error=error.code if isinstance(error, FleetError) else type(error).__name__)
            raise
        log(Mark.END)

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(min(seconds, self._timeout))
        if seconds > self._timeout:
            raise TransientError(
                TransientCode.TASK_TIMEOUT, f"the simulated hypervisor did not answer within {self._timeout:g} s"
            )
