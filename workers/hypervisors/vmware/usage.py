"""The VMs that have a file in a CD drive.

A datastore knows the VMs with one of its files in a drive, but not which file. To read the devices of them all takes a
second for a thousand VMs, and the storage sweep asks for every image that it deletes; an event asks for its own VM
only. So each VM's version of its configuration, which every change makes another, is remembered with what it had in its
drives, and only those that have changed are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pyVmomi import vim, vmodl

from workers.hypervisors.vmware.paths import is_in
from workers.hypervisors.vmware.session import key_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from workers.hypervisors.vmware.session import Found, Session
    from workers.hypervisors.vmware.topology import Datastore

_REMEMBERED: Final = 50_000
"""VMs that are remembered per process and endpoint."""


class Usage:
    """What VMs had in their CD drives when they were last read.

    Args:
        session: with their server.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._seen: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {}

    def of(self, stores: Sequence[Datastore], files: Sequence[str]) -> str | None:
        """Name any VM of these datastores, which are one storage, that has one of these files in a drive."""
        wanted = {vim.VirtualMachine: ["name", "config.changeVersion"]}
        there = self._session.retrieve(wanted, [one.ref for one in stores], [(vim.Datastore, "vm")])
        changed = [one for one in there if not self._is_known(one)]
        if changed:
            self._read(changed)
        wanted_files = [(f"[{one.name}] {file}", key_of(one.ref)) for one in stores for file in files]
        for one in there:
            if any(is_in(*medium, *file) for medium in self._media(one) for file in wanted_files):
                return str(one.get("name"))
        return None

    def _is_known(self, found: Found) -> bool:
        version = found.get("config.changeVersion")
        return bool(version) and self._seen.get(found.key, ("", ()))[0] == version

    def _media(self, found: Found) -> tuple[tuple[str, str], ...]:
        return self._seen.get(found.key, ("", ()))[1]

    def _read(self, changed: list[Found]) -> None:
        if len(self._seen) + len(changed) > _REMEMBERED:
            self._seen.clear()
        wanted = {vim.VirtualMachine: ["config.changeVersion", "config.hardware.device"]}
        for one in self._devices(wanted, changed):
            self._seen[one.key] = (str(one.get("config.changeVersion") or ""), tuple(_isos(one)))

    def _devices(self, wanted: dict[Any, list[str]], changed: list[Found]) -> list[Found]:
        try:
            return self._session.retrieve(wanted, [one.ref for one in changed])
        except vmodl.fault.ManagedObjectNotFound:  # one of them has just gone: then one by one
            return [found for one in changed for found in self._one(wanted, one)]

    def _one(self, wanted: dict[Any, list[str]], changed: Found) -> list[Found]:
        try:
            return self._session.retrieve(wanted, [changed.ref])
        except vmodl.fault.ManagedObjectNotFound:
            self._seen.pop(changed.key, None)
            return []


def _isos(found: Found) -> Iterator[tuple[str, str]]:
    """Give the paths in its drives, each with the managed object id of its datastore: that one's name may change."""
    for device in found.get("config.hardware.device") or ():
        if isinstance(device.backing, vim.vm.device.VirtualCdrom.IsoBackingInfo):
            yield str(device.backing.fileName), key_of(device.backing.datastore)
