"""Where recordings are played again: a pool of the rig, clients of its hosts, and the lines as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec

from rigs.xapi import XapiError, XapiHost, XapiPool
from tests.integration.xenserver.client import RESET, Client
from tests.integration.xenserver.recordings import Answer

P = ParamSpec("P")

NULL = "OpaqueRef:NULL"
LONG = bytes(24 << 20)
"""More than the buffers between two sockets hold, so that a client is still sending when it is refused."""


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

    def play(self, label: str, act: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> Any:  # noqa: ANN401
        """Do what a line says and note what came of it; returns the value, or `None` after a failure."""
        value = None
        try:
            value = act(*args, **kwargs)
        except XapiError as failure:
            self.played.append(Answer("FAIL", label, str(failure.description)))
        else:
            self.note(label, value)
        return value

    def note(self, label: str, value: object) -> None:
        """Note what came of a line."""
        # Of a transfer without a task that was broken off there is nothing but the client's exception.
        self.played.append(Answer("EXC", label, "reset") if value == RESET else Answer("OK", label, str(value)))

    def call(self, what: str, *arguments: object, label: str = "") -> Any:  # noqa: ANN401
        """Play one message, which its label begins with unless that is given."""
        return self.play(label or what, self.master, what.partition(" ")[0], *arguments)

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
        given = {"SR": sr, "name_label": name, "virtual_size": str(size), "read_only": read_only}
        more = {"type": "user", "sharable": False, "other_config": {}, "sm_config": {"path": path} if path else {}}
        return str(self.master("VDI.create", given | more))

    def vm(self, name: str = "vm", *, HVM_boot_policy: str = "BIOS order") -> str:  # noqa: N803  # as XAPI calls it
        """Make a VM."""
        return str(self.master("VM.create", {"name_label": name, "HVM_boot_policy": HVM_boot_policy}))

    def vbd(self, vm: str, userdevice: str, vdi: str | None = None, **changes: object) -> str:
        """Make a CD drive."""
        return str(self.master("VBD.create", {**vbd_record(vm, userdevice, vdi), **changes}))


def vbd_record(vm: str, userdevice: str, vdi: str | None = None) -> dict[str, object]:
    """A CD drive's constructor."""
    given = {"VM": vm, "VDI": vdi or NULL, "userdevice": userdevice, "empty": vdi is None}
    plain = {"bootable": False, "mode": "RO", "type": "CD", "other_config": {}}
    return {**given, **plain, "qos_algorithm_type": "", "qos_algorithm_params": {}}


def pick(record: object, *names: str) -> dict[str, object]:
    """Some fields of a record."""
    assert isinstance(record, dict)
    return {name: record[name] for name in names}
