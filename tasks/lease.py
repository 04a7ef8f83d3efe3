"""Keeping a lease alive from a side thread, and asking whether it still holds before each step."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Self

from configdrive.errors import StaleCode, StaleError
from tasks.mailbox import Claim, Mailbox

_log = logging.getLogger(__name__)


class KeptLease:
    """A claimed lease; as a context manager it is renewed every third of its length (`configdrive.ports.Lease`)."""

    def __init__(self, mailbox: Mailbox, claim: Claim, seconds: float) -> None:
        self._mailbox = mailbox
        self._claim = claim
        self._interval = seconds / 3
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease {claim.header.vm_uuid}", daemon=True)

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
            StaleError: `LEASE_LOST`, when another worker has taken the VM over.
        """
        if not self._mailbox.renew(self._claim):
            detail = f"another worker has taken over VM {self._claim.header.vm_uuid}"
            raise StaleError(StaleCode.LEASE_LOST, detail)

    def _keep(self) -> None:
        while not self._ended.wait(self._interval):
            try:
                held = self._mailbox.renew(self._claim)
            except Exception as error:  # noqa: BLE001 - whatever it was, the next renewal may work; `check` decides
                _log.warning("lease of VM %s not renewed: %s", self._claim.header.vm_uuid, type(error).__name__)
            else:
                if not held:
                    return
