"""What the server is about: hosts with their file systems, exports of NFS servers, rows, sessions, one lock."""

import threading
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rigs.xapi.database import Database
from rigs.xapi.errors import XapiError
from rigs.xapi.exclusion import Exclusion
from rigs.xapi.faults import Faults


@dataclass(frozen=True)
class XapiHost:
    """One host of the pool.

    Attributes:
        name: its name label.
        address: its own loopback address; all hosts of a pool listen on one port.
        url: `https://<address>:<port>`.
        reference: of its row, and `uuid`.
        root: the directory that is the root of its dom0's file system.
        fingerprint: SHA-256 of its certificate, in hexadecimal digits with colons.
    """

    name: str
    address: str
    url: str
    reference: str
    uuid: str
    root: Path
    fingerprint: str


@dataclass
class World:
    """The state of one pool.

    Attributes:
        directory: holds everything below.
        port: of every host.
        user: who may log in, with `password`.
        hosts: by reference, the first master first.
        booting: the hosts whose toolstack is not up yet, by reference.
        away: the hosts that do not listen, by reference.
        pool: the reference of the pool's row.
        calls: how often each method was called from outside, by name.
        called: the same in order.
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
    hosts: dict[str, XapiHost] = field(default_factory=dict)
    booting: set[str] = field(default_factory=set)
    away: set[str] = field(default_factory=set)
    calls: Counter[str] = field(default_factory=Counter)
    called: list[str] = field(default_factory=list)
    uuids: list[str] = field(default_factory=list)
    restarts: Counter[str] = field(default_factory=Counter)
    exclusion: Exclusion = field(default_factory=Exclusion)
    newer: bool = False
    pool: str = ""

    @property
    def master(self) -> str:
        """The reference of the pool's master."""
        return str(self.db.row("pool", self.pool)["master"])

    def host(self, name: str) -> XapiHost:
        """The host of that name label."""
        return next(host for host in self.hosts.values() if host.name == name)

    def add_host(self, name: str, address: str, fingerprint: str) -> None:
        """Add a host, and its control domain."""
        identity, software = host_uuid(name), dict(_SOFTWARE)
        shown = {"uuid": identity, "name_label": name, "address": address, "software_version": software}
        reference = self.db.add("host", **shown, metrics=self.db.add("host_metrics"))
        dom0 = {"power_state": "Running", "is_control_domain": True, "resident_on": reference, "affinity": reference}
        vm = self.db.add("VM", name_label=f"Control domain on host: {name}", **dom0)
        self.db.row("host", reference)["control_domain"] = vm
        root = self.directory / "hosts" / name
        root.mkdir(parents=True, exist_ok=True)
        url = f"https://{address}:{self.port}"
        self.hosts[reference] = XapiHost(name, address, url, reference, identity, root, fingerprint)

    def export(self, server: str, path: str) -> Path:
        """The directory behind `server:path`, whether or not it is there."""
        return self.directory / "nfs" / server / path.strip("/")

    def forget_transient(self) -> int:
        """Forget sessions and tasks, which xapi keeps in memory only; tell how many sessions there were."""
        with self.lock:
            sessions = self.db.find("session")
            self.db.remove("session", *sessions)
            self.db.remove("task", *self.db.find("task"))
        return len(sessions)

    def busy(self, kind: str, reference: str) -> None:
        """Refuse what is to be done with something while something else is done with it.

        Raises:
            XapiError: `OTHER_OPERATION_IN_PROGRESS`; newer releases name the task too.
        """
        for task, operation in self.db.row(kind, reference)["current_operations"].items():
            more = (task,) if self.newer else ()
            raise XapiError("OTHER_OPERATION_IN_PROGRESS", kind, reference, operation, *more)

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
