"""A pool of hosts that answer as xapi does, and what is done to it past the XenAPI."""

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from typing_extensions import override

from rigs.certificates import Authority, Identity
from rigs.process import Rig, RigUnavailable, free_port
from rigs.xapi.dispatcher import call_directly
from rigs.xapi.fields import NULL
from rigs.xapi.server import HostServer
from rigs.xapi.world import World, XapiHost


class XapiPool(Rig):
    """Hosts in one pool, the first of them its master; threads of this process serve them.

    Args:
        directory: holds certificates, the hosts' file systems and the NFS servers' exports; is made if missing.
        hosts: their name labels.
        addresses: their loopback addresses; else 127.0.0.1, 127.0.0.2, ...

    Attributes:
        world: all that the hosts know, under its lock.
        ca: the authority of their certificates.
        port: on which every host listens.
        user: who may log in, with `password`.
        faults: where to plant faults.
        exclusion: how those wait that come second to an SR.
        calls: how often each message came since the start, or since `calls.clear()`.
    """

    def __init__(self, directory: Path, hosts: Sequence[str] = ("xapi-A",), *, addresses: Sequence[str] = ()) -> None:
        places = list(addresses) or [f"127.0.0.{number}" for number in range(1, len(hosts) + 1)]
        directory.mkdir(parents=True, exist_ok=True)
        self.world = world = World(directory, _port(places))
        self.port, self.user, self.password = world.port, world.user, world.password
        self.faults, self.exclusion, self.calls = world.faults, world.exclusion, world.calls
        authority = Authority(directory / "tls", "xapi rig authority")
        self.ca = authority.file
        self._identities: dict[str, Identity] = {}
        for name, address in zip(hosts, places, strict=True):
            self._identities[name] = authority.issue(name, [name, address])
            world.add_host(name, address, self._identities[name].fingerprint)
        world.pool = world.db.add("pool", master=world.host(hosts[0]).reference, name_label="rig")
        self._servers: dict[str, HostServer] = {}

    @property
    def url(self) -> str:
        """Where the master answers."""
        return self.world.hosts[self.world.master].url

    def collect_garbage(self) -> None:
        """Do what the database's garbage collection does within 30 s (13 s recorded): empty CDs whose image is gone."""
        with self.world.lock:
            for reference, vbd in self.world.db.find("VBD", empty=False).items():
                if self.world.db.has("VDI", vbd["VDI"]):
                    continue
                if vbd["type"] == "CD":
                    vbd.update(VDI=NULL, empty=True)
                else:
                    self.world.db.remove("VBD", reference)  # xapi's sources

    def protect(self, vm: str) -> None:
        """Turn HA on, and have it restart a VM (its uuid) on whatever host is left."""
        with self.world.lock:
            self.world.db.row("pool", self.world.pool)["ha_enabled"] = True
            self.world.db.row("VM", self.world.db.by_uuid("VM", vm))["ha_restart_priority"] = "restart"

    @property
    def hosts(self) -> tuple[XapiHost, ...]:
        """All hosts, the first master first."""
        return tuple(self.world.hosts.values())

    def host(self, name: str) -> XapiHost:
        """The host of that name label."""
        return self.world.host(name)

    def call(self, method: str, *arguments: object) -> object:
        """Send a message from inside: no session, no faults, not counted; values as the server holds them.

        Raises:
            XapiError: as a client would get it.
        """
        return call_directly(self.world, method, *arguments)

    def inventory_text(self) -> str:
        """The inventory with the pool as `p` and each host by its name, as an operator writes it."""
        lines = ["[xenserver.pools.p]", f'password = "{self.password}"', f'ca_file = "{self.ca}"']
        for host in self.hosts:
            lines += [f"[xenserver.hosts.{host.name}]", 'pool = "p"', f'url = "{host.url}"']
        return "\n".join(lines) + "\n"

    @override
    def start(self) -> None:
        """Let every host listen that does not yet."""
        for name in self._identities:
            self.bring_up(name)

    @override
    def stop(self) -> None:
        """Let no host listen; what they know stays, and planted faults are forgotten."""
        self.faults.clear()
        for name in list(self._servers):
            server = self._servers.pop(name)
            server.stop()
            server.break_connections()

    def take_down(self, name: str) -> None:
        """Take a host off the network, and let its pool know; with the master's toolstack go sessions and tasks."""
        server = self._end_toolstack(name)
        self.world.away.add(self.world.host(name).reference)
        self._set_live(name, live=False)
        if server is not None:
            server.break_connections()

    def bring_up(self, name: str) -> None:
        """Let a host listen again."""
        self._set_live(name, live=True)
        self.world.away.discard(self.world.host(name).reference)
        if name not in self._servers:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._identities[name].certificate, self._identities[name].key)
            self._servers[name] = HostServer(self.world, self.world.host(name), context)

    def restart_toolstack(self, name: str) -> None:
        """Start a host's toolstack anew: an import that it was at leaves the image with the control domain.

        It listens again when its clients notice.
        """
        server = self._end_toolstack(name)
        self.bring_up(name)
        if server is not None:
            server.break_connections()

    def _end_toolstack(self, name: str) -> HostServer | None:
        """Listen no more, and forget what is in memory only; returns what has connections yet."""
        reference = self.world.host(name).reference
        self.world.restarts[reference] += 1
        server = self._servers.pop(name, None)
        if server is not None:
            server.stop()
        if reference == self.world.master:
            self.world.forget_transient()
        return server

    @contextmanager
    def down(self, name: str) -> Iterator[None]:
        """Keep a host off the network for a while."""
        self.take_down(name)
        try:
            yield
        finally:
            self.bring_up(name)

    @contextmanager
    def booting(self, name: str) -> Iterator[None]:
        """Let a host answer `HOST_STILL_BOOTING` to everything for a while."""
        reference = self.world.host(name).reference
        self.world.booting.add(reference)
        try:
            yield
        finally:
            self.world.booting.discard(reference)

    def make_master(self, name: str) -> None:
        """Make another host the master, as an administrator does, or HA; sessions and tasks are gone then."""
        with self.world.lock:
            self.world.db.row("pool", self.world.pool)["master"] = self.world.host(name).reference
            self.world.forget_transient()

    def expire_sessions(self) -> int:
        """Forget every session (and task), and tell how many sessions there were."""
        return self.world.forget_transient()

    @property
    def sessions(self) -> int:
        """How many sessions are open."""
        with self.world.lock:
            return len(self.world.db.find("session"))

    def _set_live(self, name: str, *, live: bool) -> None:
        with self.world.lock:
            host = self.world.db.row("host", self.world.host(name).reference)
            self.world.db.row("host_metrics", host["metrics"])["live"] = live


def _port(addresses: Sequence[str]) -> int:
    """Find a port that is free on all of these addresses."""
    for _ in range(20):
        port = free_port()
        try:
            for address in addresses:
                with socket.create_server((address, port)):
                    pass
        except OSError:
            continue
        return port
    raise RigUnavailable(f"no port is free on all of {', '.join(addresses)}")
