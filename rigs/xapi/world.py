"""What the server is about: hosts with their file systems, exports of NFS servers, rows, sessions, one lock."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rigs.xapi.database import Database
from rigs.xapi.errors import XapiError
from rigs.xapi.exclusion import Exclusion
from rigs.xapi.faults import Faults
from rigs.xapi.fields import NULL

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """One host of the pool.

    Attributes:
        name: its name label.
        address: of its management interface; all hosts listen on one port.
        reference: of its row, and `uuid`.
        root: the directory that is the root of its dom0's file system.
    """

    name: str
    address: str
    reference: str
    uuid: str
    root: Path


@dataclass
class World:
    """The state of one pool.

    Attributes:
        directory: holds everything below.
        port: of every host.
        user: who may log in, with `password`.
        machines: by reference.
        booting: the hosts whose toolstack is not up yet, by reference.
        away: the hosts that do not listen, by reference.
        pool: the reference of the pool's row.
        calls: how often each method was called from outside, by name.
        uuids: those of the next SRs; random ones when it is empty.
        restarts: how often each host's toolstack was stopped, by reference.
        exclusion: who is alone at which SR.
        newer: whether errors are those of releases after 24.
    """

    directory: Path
    port: int
    user: str = "root"
    password: str = "xapi-rig-password"
    db: Database = field(default_factory=Database)
    lock: threading.RLock = field(default_factory=threading.RLock)
    faults: Faults = field(default_factory=Faults)
    machines: dict[str, Machine] = field(default_factory=dict)
    booting: set[str] = field(default_factory=set)
    away: set[str] = field(default_factory=set)
    calls: Counter[str] = field(default_factory=Counter)
    uuids: list[str] = field(default_factory=list)
    restarts: Counter[str] = field(default_factory=Counter)
    exclusion: Exclusion = field(default_factory=Exclusion)
    newer: bool = False
    pool: str = ""

    @property
    def master(self) -> str:
        """The reference of the pool's master."""
        return str(self.db.row("pool", self.pool)["master"])

    def machine(self, name: str) -> Machine:
        """The host of that name label."""
        return next(machine for machine in self.machines.values() if machine.name == name)

    def add_machine(self, name: str, address: str) -> Machine:
        """Add a host, and its control domain."""
        identity = host_uuid(name)
        metrics = self.db.add("host_metrics", memory_total=1 << 34, memory_free=1 << 33, last_updated=now())
        reference = self.db.add(
            "host",
            uuid=identity,
            name_label=name,
            hostname=name,
            address=address,
            metrics=metrics,
            software_version=dict(_SOFTWARE),
        )
        control_domain = self.db.add(
            "VM",
            name_label=f"Control domain on host: {name}",
            power_state="Running",
            is_control_domain=True,
            resident_on=reference,
            affinity=reference,
            domid=0,
        )
        self.db.row("host", reference)["control_domain"] = control_domain
        root = self.directory / "hosts" / name
        root.mkdir(parents=True, exist_ok=True)
        machine = Machine(name, address, reference, identity, root)
        self.machines[reference] = machine
        return machine

    def export(self, server: str, path: str) -> Path:
        """The directory behind `server:path`, whether or not it is there."""
        return self.directory / "nfs" / server / path.strip("/")

    def forget_transient(self) -> int:
        """Forget sessions and tasks, which xapi keeps in memory only; tell how many sessions there were."""
        with self.lock:
            sessions = self.db.references("session")
            for kind in ("session", "task"):
                for reference in self.db.references(kind):
                    self.db.remove(kind, reference)
        return len(sessions)

    def collect_garbage(self) -> None:
        """Do what the database's garbage collection does within 30 s (13 s recorded): empty CDs whose image is gone."""
        with self.lock:
            for vbd in self.db.references("VBD"):
                row = self.db.row("VBD", vbd)
                if row["empty"] or self.db.has("VDI", row["VDI"]):
                    continue
                if row["type"] == "CD":
                    row.update(VDI=NULL, empty=True)
                else:
                    self.db.remove("VBD", vbd)  # xapi's sources

    def busy(self, kind: str, reference: str) -> None:
        """Refuse what is to be done with something while something else is done with it.

        Raises:
            XapiError: `OTHER_OPERATION_IN_PROGRESS`; newer releases name the task too.
        """
        for task, operation in self.db.row(kind, reference)["current_operations"].items():
            more = (task,) if self.newer else ()
            raise XapiError("OTHER_OPERATION_IN_PROGRESS", kind, reference, operation, *more)

    def set_master(self, host: str) -> None:
        """Make a host the master: its toolstack and the old master's start anew."""
        with self.lock:
            self.db.row("pool", self.pool)["master"] = host
            self.forget_transient()

    def check_reachable(self, host: str) -> None:
        """Refuse what the master would have to pass on to a host that does not answer it.

        Raises:
            XapiError: `CANNOT_CONTACT_HOST`, as in xapi's sources; not recorded.
        """
        if host in self.away and host != self.master:
            raise XapiError("CANNOT_CONTACT_HOST", host)

    def is_live(self, host: str) -> bool:
        """Whether a host is on the network."""
        return bool(self.db.row("host_metrics", self.db.row("host", host)["metrics"])["live"])


_HOSTS = uuid.UUID("7a5f1e0c-0000-4000-8000-000000000000")
"""A host's uuid follows from its name, so that tests can write it down."""

# As recorded, of an XCP-ng 8.3.
_SOFTWARE = {
    "product_version": "8.3.0",
    "product_version_text": "8.3",
    "product_version_text_short": "8.3",
    "platform_name": "XCP",
    "platform_version": "3.4.0",
    "product_brand": "XCP-ng",
    "build_number": "cloud",
    "xapi": "23.14",
    "xapi_build": "23.14.0",
    "hostname": "localhost",
}


def host_uuid(name: str) -> str:
    """Return the uuid of a host of that name."""
    return str(uuid.uuid5(_HOSTS, name))


def now() -> dt.datetime:
    """The time, in UTC and whole seconds, as xapi gives it."""
    return dt.datetime.now(dt.UTC).replace(microsecond=0)
