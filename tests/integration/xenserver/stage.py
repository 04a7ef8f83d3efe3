"""Where recordings are played again: a pool of the rig, clients of its hosts, and the lines as they come."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.integration.xenserver.client import Client, Failure
from tests.integration.xenserver.recordings import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rigs.xapi import XapiHost, XapiPool

NULL = "OpaqueRef:NULL"
VM_RECORD: dict[str, object] = {
    "name_label": "vm",
    "name_description": "",
    "user_version": "1",
    "is_a_template": False,
    "affinity": NULL,
    "memory_static_max": "268435456",
    "memory_dynamic_max": "268435456",
    "memory_dynamic_min": "268435456",
    "memory_static_min": "134217728",
    "VCPUs_params": {},
    "VCPUs_max": "1",
    "VCPUs_at_startup": "1",
    "actions_after_shutdown": "destroy",
    "actions_after_reboot": "restart",
    "actions_after_crash": "restart",
    "PV_bootloader": "",
    "PV_kernel": "",
    "PV_ramdisk": "",
    "PV_args": "",
    "PV_bootloader_args": "",
    "PV_legacy_args": "",
    "HVM_boot_policy": "BIOS order",
    "HVM_boot_params": {"order": "cd"},
    "platform": {},
    "PCI_bus": "",
    "other_config": {},
    "recommendations": "",
}


@dataclass
class Stage:
    """One pool and what was played on it.

    Attributes:
        pool: it listens.
        master: a client with a session.
        played: the lines so far.
    """

    pool: XapiPool
    master: Client
    played: list[Answer] = field(default_factory=list)

    @classmethod
    @contextmanager
    def open(cls, pool: XapiPool) -> Iterator[Stage]:
        """Log in."""
        with Client(pool.url, pool.ca) as master:
            master.login(pool.user, pool.password)
            yield cls(pool, master)

    def client(self, host: XapiHost) -> Client:
        """Another connection, with the same session."""
        return Client(host.url, self.pool.ca, self.master.session)

    def play(self, label: str, act: Callable[[], object]) -> object:
        """Do what a line says and note what came of it; returns the value, or `None` after a failure."""
        value = None
        try:
            value = act()
        except Failure as failure:
            answer = Answer("FAIL", label, str(failure.details))
        else:
            answer = Answer("EXC", label, "reset") if _is_reset(value) else Answer("OK", label, str(value))
        self.played.append(answer)
        return value

    def text(self, label: str, act: Callable[[], object]) -> str:
        """As `play`, for what answers with a reference."""
        return str(self.play(label, act))

    def call(self, label: str, method: str, *arguments: object) -> str:
        """Play one message."""
        return self.text(label, lambda: self.master(method, *arguments))

    @property
    def host(self) -> str:
        """The master's reference."""
        return self.pool.hosts[0].reference

    def folder(self, host: XapiHost, path: str) -> Path:
        """Make a directory in a host's dom0."""
        place = host.root / path.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        return place

    def iso_sr(
        self, config: dict[str, str], *, host: str | None = None, kind: str = "iso", shared: bool = False
    ) -> str:
        """Make an SR."""
        sr = self.master("SR.create", host or self.host, config, "0", "iso sr", "", kind, "iso", shared, {})
        return str(sr)

    def vdi(self, sr: str, path: str | None, *, size: int = 1000, name: str = "cfg", read_only: bool = False) -> str:
        """Make an image."""
        record = {
            "name_label": name,
            "name_description": "",
            "SR": sr,
            "virtual_size": str(size),
            "type": "user",
            "sharable": False,
            "read_only": read_only,
            "other_config": {},
            "xenstore_data": {},
            "sm_config": {} if path is None else {"path": path},
        }
        return str(self.master("VDI.create", record))

    def vm(self, name: str = "vm", **changes: object) -> str:
        """Make a VM."""
        return str(self.master("VM.create", {**VM_RECORD, "name_label": name, **changes}))

    def vbd(self, vm: str, userdevice: str, vdi: str | None = None, **changes: object) -> str:
        """Make a CD drive."""
        return str(self.master("VBD.create", {**vbd_record(vm, userdevice, vdi), **changes}))


def vbd_record(vm: str, userdevice: str, vdi: str | None = None) -> dict[str, object]:
    """A CD drive's constructor."""
    return {
        "VM": vm,
        "VDI": vdi or NULL,
        "userdevice": userdevice,
        "bootable": False,
        "mode": "RO",
        "type": "CD",
        "unpluggable": True,
        "empty": vdi is None,
        "other_config": {},
        "qos_algorithm_type": "",
        "qos_algorithm_params": {},
    }


def pick(record: object, *names: str) -> dict[str, object]:
    """Some fields of a record."""
    assert isinstance(record, dict)
    return {name: record[name] for name in names}


def _is_reset(value: object) -> bool:
    """Whether a transfer without a task was broken off."""
    return isinstance(value, tuple) and value == ("ConnectionResetError", "[Errno 104] Connection reset by peer")
