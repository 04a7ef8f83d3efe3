"""libvirt's event loop: one daemon thread per process, without which no keepalive is answered.

libvirt takes an event loop once per process and hands it down through fork with all that is registered in it. A child
of a process that had used libvirt must not run that loop: it would read its parent's sockets. Such a child goes
without keepalive; the limit on every call (`links.py`) still holds. Celery's workers fork before they connect.
"""

from __future__ import annotations

import os
import threading

import libvirt

_lock = threading.Lock()
_registered_in: int | None = None


def _silent(_context: None, _error: object) -> None:
    """Print nothing: every error is raised as well."""


# libvirt's default handler prints each error to stderr, once more than the exception tells it.
libvirt.registerErrorHandler(_silent, None)


def _run() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def run_event_loop() -> bool:
    """See that this process has the loop; false when its parent had it, and then keepalive must not be turned on."""
    global _registered_in  # noqa: PLW0603  # libvirt's is just as global
    if _registered_in is None:
        with _lock:
            if _registered_in is None:
                libvirt.virEventRegisterDefaultImpl()
                threading.Thread(target=_run, name="libvirt-events", daemon=True).start()
                _registered_in = os.getpid()
    return _registered_in == os.getpid()
