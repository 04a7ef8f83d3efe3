"""Keeping a lease alive from a side thread, and asking whether it still holds before each step."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Self

from celery.exceptions import SoftTimeLimitExceeded

from configdrive.errors import StaleCode, StaleError

if TYPE_CHECKING:
    from types import TracebackType

    from tasks.mailbox import Mailbox, Right

_log = logging.getLogger(__name__)


class KeptLease:
    """A lease that was taken; as a context manager it is renewed every third of its length (`configdrive.ports.Lease`).

    Args:
        mailbox: where it was taken.
        right: the claim or hold.
        seconds: the lease's length.
        longest: seconds after which it is kept no longer: a pool that cannot enforce a time limit (threads, solo) must
            not hold up a VM for ever when a call never returns.
    """

    def __init__(self, mailbox: Mailbox, right: Right, seconds: float, *, longest: float) -> None:
        self._mailbox = mailbox
        self._right = right
        self._interval = seconds / 3
        self._last = time.monotonic() + longest
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease {right.vm_uuid}", daemon=True)

    def __enter__(self) -> Self:
        """Begin to renew."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop renewing; giving the lease back is the business of `Mailbox.done`."""
        self._ended.set()

    def check(self) -> None:
        """Return when the lease still holds.

        Raises:
            StaleError: `LEASE_LOST`, when another worker has taken the VM over, or may have: the store does not answer,
                or the attempt has taken too long. The event is tried again once the lease has run out.
        """
        vm = self._right.vm_uuid
        if time.monotonic() > self._last:
            raise StaleError(StaleCode.LEASE_LOST, f"the attempt for VM {vm} took longer than an attempt may")
        try:
            held = self._mailbox.renew(self._right)
        except SoftTimeLimitExceeded:
            raise
        except Exception as error:  # noqa: BLE001 - nothing is known, so nothing may be changed
            _log.warning("lease of VM %s not checked: %s", vm, type(error).__name__)
            held = False
        if not held:
            raise StaleError(StaleCode.LEASE_LOST, f"another worker has taken over VM {vm}, or may have")

    def _keep(self) -> None:
        while not self._ended.wait(self._interval) and time.monotonic() < self._last:
            try:
                held = self._mailbox.renew(self._right)
            except Exception as error:  # noqa: BLE001 - whatever it was, the next renewal may work; `check` decides
                _log.warning("lease of VM %s not renewed: %s", self._right.vm_uuid, type(error).__name__)
            else:
                if not held:
                    return
