"""Changing the medium of a drive that a guest has: politely, then by force, and past a tray that shut by itself."""

from __future__ import annotations

import contextlib
import json
import re
import time
from typing import TYPE_CHECKING, Final

import libvirt
import libvirt_qemu

from configdrive.errors import TransientCode, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable

    from configdrive.model import VmUuid
    from workers.hypervisors.kvm.domain_xml import Disk, StartupPolicy
    from workers.hypervisors.kvm.sessions import Link

FORCE: Final = libvirt.VIR_DOMAIN_DEVICE_MODIFY_FORCE

_SHUT: Final = re.compile(r"Tray of .+ is not open")
_ATTEMPTS: Final = 10
_PAUSE_SECONDS: Final = 0.02


class Tray:
    """The trays of one running VM.

    Args:
        link: to its host.
        vm: its uuid.
        handle: libvirt's.
        force: whether a medium is exchanged although the guest holds the tray.
        policy: what libvirt does when it cannot look at an image.
    """

    def __init__(
        self, link: Link, vm: VmUuid, handle: libvirt.virDomain, *, force: bool, policy: StartupPolicy
    ) -> None:
        self._link = link
        self._vm = vm
        self._handle = handle
        self._force = force
        self._policy = policy

    def change(self, disk: Disk, path: str | None, flags: int, still_meant: Callable[[], bool] = lambda: True) -> None:
        """Put a file into the drive, or eject what is in it (`None`).

        A guest that has mounted the medium holds the tray: libvirt waits 5 s for it to let go.

        Args:
            disk: the drive.
            path: of the file.
            flags: libvirt's.
            still_meant: asked before force is used: whether the drive is as it was.

        Raises:
            TransientError: `DRIVE_LOCKED` when it does not, and force is not allowed.
            libvirt.libvirtError: all else.
        """
        try:
            self._update(disk, path, flags)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_OPERATION_FAILED and not _is_shut(error):
                raise
            if not self._force:
                detail = f"the guest of VM {self._vm} holds the tray of its config drive {disk.target.dev}"
                remedy = "unmount it in the guest, or turn the setting force_eject on"
                raise TransientError(TransientCode.DRIVE_LOCKED, detail, remedy) from error
            if still_meant():
                self._update(disk, path, flags | FORCE)

    def _update(self, disk: Disk, path: str | None, flags: int) -> None:
        """Change the medium, and put right what libvirt thinks of the tray.

        A guest that resets the drive (a BIOS or kernel at its start) shuts the tray, and QEMU says nothing of it. When
        that happens during a change, libvirt takes the tray for open ever after, and every change fails. Opening it
        past libvirt makes the two agree again (libvirt notes in the VM's log that somebody used the monitor).
        Of a drive that was added while the VM ran, libvirt 9.0 never knows that it has a tray.
        """
        xml, drive = disk.with_medium(path, self._policy), (self._vm, disk.target.dev)
        if self._link.known.trays.get(drive):
            with contextlib.suppress(libvirt.libvirtError):  # the guest holds it: libvirt waits for it
                self._open(disk, force=bool(flags & FORCE))
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._link.change(self._handle.updateDeviceFlags, xml, flags)
            except libvirt.libvirtError as error:
                if attempt == _ATTEMPTS or not _is_shut(error):
                    raise
                self._link.known.trays.keep(drive, value=True)
                self._open(disk, force=bool(flags & FORCE))
                time.sleep(_PAUSE_SECONDS)
            else:
                return

    def _open(self, disk: Disk, *, force: bool) -> None:
        command = {"execute": "blockdev-open-tray", "arguments": {"id": disk.alias, "force": force}}
        self._link.change(libvirt_qemu.qemuMonitorCommand, self._handle, json.dumps(command), 0)


def _is_shut(error: libvirt.libvirtError) -> bool:
    """Whether libvirt took the tray for open and QEMU says that it is not; a guest may have locked it besides."""
    return _SHUT.search(error.get_error_message() or "") is not None
