"""VMs at rest: one small JSON file each, replaced in one rename, changed only under the VM's own lock."""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.model import UUID_PATTERN, HostName, ImageName, InstanceName, PowerState, StorageName, VmUuid

_UUID: Final = re.compile(UUID_PATTERN)
_LOCK_POLL: Final = 0.002
"""Seconds between two tries for a lock that another worker holds; only a fenced or stuck worker makes us wait."""


@dataclass(frozen=True, slots=True)
class Medium:
    """A file in a drive, as its hypervisor writes it down: each host finds it on its own storage of that name."""

    storage: StorageName
    file: str

    @property
    def image(self) -> ImageName | None:
        """Whose image it is; `None` when it is no image of the fleet."""
        return ImageName.parse(self.file)


Drives = Mapping[str, Medium | None]
"""Each drive's device name and its medium; `None` is an empty drive."""


@dataclass(frozen=True, slots=True)
class VmRecord:
    """A VM as its host has it.

    Args:
        uuid, instance_name, host: as everywhere.
        root_storage: where its root disk lies.
        power: never `UNDEFINED`: that is a missing record.
        persistent: whether the host keeps its definition when it is off (a CloudStack VM on KVM: no).
        hot_add: whether a drive can be added while it runs.
        tray_locked: the guest has locked its drives (it has mounted them).
        live: the drives of the running VM.
        config: the drives of its persistent definition.
    """

    uuid: VmUuid
    instance_name: InstanceName
    host: HostName
    root_storage: StorageName
    power: PowerState = PowerState.HALTED
    persistent: bool = True
    hot_add: bool = True
    tray_locked: bool = False
    live: Drives = field(default_factory=dict)
    config: Drives = field(default_factory=dict)

    @property
    def active(self) -> bool:
        """Whether there is a VM beside its definition."""
        return self.power is not PowerState.HALTED

    @property
    def media(self) -> tuple[Medium, ...]:
        """All media in all its drives, live and configured."""
        return tuple(medium for drives in (self.live, self.config) for medium in drives.values() if medium is not None)


class Records:
    """The records of all VMs, below the directory `root`."""

    def __init__(self, root: Path) -> None:
        self._vms = root / "vms"
        self._locks = root / "locks"
        self._strangers = root / "strangers"

    def prepare(self) -> None:
        """Make the folders that are not there yet."""
        for folder in (self._vms, self._locks, self._strangers):
            folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def lock(self, uuid: VmUuid, timeout: float) -> Iterator[None]:
        """Hold the VM's lock, against other threads and processes; the system frees it when the process dies.

        Raises:
            TransientError: `VM_BUSY` when somebody else has held it for `timeout` seconds; with 0, at once.
        """
        descriptor = os.open(f"{self._locks}/{_checked(uuid)}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + timeout
            while not _try_lock(descriptor):
                if time.monotonic() >= deadline:
                    raise TransientError(TransientCode.VM_BUSY, f"VM {uuid} is being worked on by another process")
                time.sleep(_LOCK_POLL)
            yield
        finally:
            os.close(descriptor)

    def get(self, uuid: VmUuid) -> VmRecord | None:
        """Read a VM's record; whole without any lock, because records are replaced and never rewritten."""
        try:
            with open(self._path(uuid), "rb") as file:  # noqa: PTH123 - every verb comes here, and pathlib takes longer
                return _decode(json.loads(file.read()))
        except FileNotFoundError:
            return None

    def on(self, host: HostName) -> Iterator[VmRecord]:
        """Give every VM of one host."""
        for path in sorted(self._vms.glob("*.json")):
            record = self.get(VmUuid(path.stem))
            if record is not None and record.host == host:
                yield record

    def put(self, record: VmRecord) -> None:
        """Write a VM's record in one instant. The caller holds its lock."""
        for medium in record.media:
            self._note_stranger(record.uuid, medium)
        path = self._path(record.uuid)
        part = f"{path}.part"
        with open(part, "w", encoding="utf-8") as file:  # noqa: PTH123 - as in `get`
            file.write(json.dumps(_encode(record)))
        os.rename(part, path)  # noqa: PTH104 - as in `get`

    def remove(self, uuid: VmUuid) -> None:
        """Forget a VM. The caller holds its lock."""
        Path(self._path(uuid)).unlink(missing_ok=True)

    def users(self, name: ImageName) -> Iterator[VmRecord]:
        """Give every VM that may have this image in a drive: its owner, and others that were ever given it."""
        candidates = {name.vm_uuid}
        with suppress(FileNotFoundError), os.scandir(f"{self._strangers}/{name}") as entries:
            candidates |= {VmUuid(entry.name) for entry in entries}
        for uuid in candidates:
            record = self.get(uuid)
            if record is not None:
                yield record

    def _path(self, uuid: VmUuid) -> str:
        return f"{self._vms}/{_checked(uuid)}.json"

    def _note_stranger(self, uuid: VmUuid, medium: Medium) -> None:
        # The driver gives a VM its own images only, so this index is empty unless the world is made to do wrong; and
        # it makes "which VMs use this file?" cost two look-ups instead of reading every record.
        image = medium.image
        if image is None or image.vm_uuid == uuid:
            return
        folder = self._strangers / str(image)
        folder.mkdir(exist_ok=True)
        (folder / uuid).touch()


def _checked(uuid: VmUuid) -> VmUuid:
    if _UUID.fullmatch(uuid) is None:
        raise PermanentError(PermanentCode.INVALID_EVENT, "the VM's uuid is not a lower-case uuid with hyphens")
    return uuid


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _encode(record: VmRecord) -> dict[str, object]:
    return {
        "uuid": record.uuid,
        "instance_name": record.instance_name,
        "host": record.host,
        "root_storage": record.root_storage,
        "power": record.power.value,
        "persistent": record.persistent,
        "hot_add": record.hot_add,
        "tray_locked": record.tray_locked,
        "live": _encode_drives(record.live),
        "config": _encode_drives(record.config),
    }


def _encode_drives(drives: Drives) -> dict[str, list[str] | None]:
    return {device: None if medium is None else [medium.storage, medium.file] for device, medium in drives.items()}


def _decode(fields: dict[str, Any]) -> VmRecord:
    return VmRecord(
        uuid=VmUuid(fields["uuid"]),
        instance_name=InstanceName(fields["instance_name"]),
        host=HostName(fields["host"]),
        root_storage=StorageName(fields["root_storage"]),
        power=PowerState(fields["power"]),
        persistent=bool(fields["persistent"]),
        hot_add=bool(fields["hot_add"]),
        tray_locked=bool(fields["tray_locked"]),
        live=_decode_drives(fields["live"]),
        config=_decode_drives(fields["config"]),
    )


def _decode_drives(drives: dict[str, list[str] | None]) -> Drives:
    return {
        device: None if medium is None else Medium(StorageName(medium[0]), medium[1])
        for device, medium in drives.items()
    }
