"""Starting the simulator, and saying to its front what it shall count, delay, refuse and break."""

import json
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

from typing_extensions import override

from rigs.certificates import Authority, Identity
from rigs.process import LOOPBACK, Daemon, DaemonRig, free_port
from rigs.vcsim.build import launcher

ADDRESS: Final = "127.0.0.2"
"""Where the front listens: pyvmomi itself treats `127.0.0.1` and `localhost` otherwise."""

USER, PASSWORD = "configdrive@vsphere.local", "sesame-öffne-dich"
DATACENTER: Final = "DC0"


CLUSTER: Final = "cluster-01"
"""The first cluster, unless others are asked for."""


class VCenter(DaemonRig):
    """A vCenter with two hosts in a cluster, or a stand-alone ESXi with one.

    Args:
        directory: is made if missing; holds datastores, certificates and the log.
        datastores: name -> the hosts, all of one datacenter, that have it mounted. `DC1/shared` is the one of this
            name in that datacenter; without a datacenter, the first one's.
        hosts: the ESXi hosts' names, in one cluster of one datacenter.
        clusters: (datacenter, cluster) -> the hosts in it, instead of `hosts`.
        pods: datastore cluster -> its datastores.
        vsan: datastores that take no folder at their top but what the namespace manager makes.
        same: datastore -> another one, in whose directory its files lie as well.
        esxi: one host without a vCenter.
    """

    def __init__(  # noqa: PLR0913  # what a vCenter consists of
        self,
        directory: Path,
        datastores: Mapping[str, Sequence[str]],
        *,
        hosts: Sequence[str] = ("esx-01", "esx-02"),
        clusters: Mapping[tuple[str, str], Sequence[str]] | None = None,
        pods: Mapping[str, Sequence[str]] | None = None,
        vsan: Sequence[str] = (),
        same: Mapping[str, str] | None = None,
        esxi: bool = False,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._same = same or {}
        clusters = clusters or {(DATACENTER, CLUSTER): hosts}
        self.hosts = tuple(host for members in clusters.values() for host in members)
        self.uuid = str(uuid.uuid4())
        self.datacenter = "ha-datacenter" if esxi else DATACENTER
        self.esxi = esxi
        self.port = free_port()
        self.plain_port = free_port()
        self.authority = Authority(directory / "tls")
        self.identity = self.authority.issue("server", [ADDRESS])
        for name in datastores:
            self.datastore(name).mkdir(parents=True, exist_ok=True)
        configuration = directory / "vcsim.json"
        configuration.write_text(
            json.dumps(
                {
                    "esxi": esxi,
                    "listen": f"{ADDRESS}:{self.port}",
                    "plain": f"{LOOPBACK}:{self.plain_port}",
                    "certificate": str(self.identity.certificate),
                    "key": str(self.identity.key),
                    "user": USER,
                    "password": PASSWORD,
                    "uuid": self.uuid,
                    "clusters": [
                        {"datacenter": datacenter, "name": name, "hosts": list(members)}
                        for (datacenter, name), members in clusters.items()
                    ],
                    "pods": pods or {},
                    "vsan": [str(self.datastore(one)) for one in vsan],
                    "datastores": [
                        {"name": one.rpartition("/")[2], "directory": str(self.datastore(one)), "hosts": list(seen_by)}
                        for one, seen_by in datastores.items()
                    ],
                }
            ),
            "utf-8",
        )
        self._daemon = Daemon([str(launcher()), str(configuration)], directory / "vcsim.log")

    def datastore(self, name: str) -> Path:
        """Return the directory in which a datastore's files lie."""
        return self.directory / "datastores" / self._same.get(name, name).replace("/", "-")

    @override
    def start(self) -> None:
        """Start it and wait until it answers."""
        self._daemon.start()
        self._daemon.wait_ready(self._answers, timeout=20)

    def inventory(self, hosts: Mapping[str, Mapping[str, object]], **endpoint: object) -> dict[str, dict[str, Any]]:
        """Return the inventory's `[vmware]` table.

        Args:
            hosts: what events call them -> what is said of each beside its endpoint.
            endpoint: what is said otherwise of the endpoint `vc`; `None` leaves it out.
        """
        table: dict[str, object] = {
            "server": ADDRESS,
            "port": self.port,
            "username": USER,
            "password": PASSWORD,
            "ca_file": str(self.authority.file),
            **endpoint,
        }
        return {
            "endpoints": {"vc": {name: value for name, value in table.items() if value is not None}},
            "hosts": {name: {"endpoint": "vc", **said} for name, said in hosts.items()},
        }

    def inventory_text(self, hosts: Mapping[str, Mapping[str, object]]) -> str:
        """Return the same as an operator writes it: the password stands in a file of its own."""
        secret = self.directory / "password"
        secret.touch(mode=0o600)
        secret.write_text(PASSWORD, "utf-8")
        secret.chmod(0o600)
        table = self.inventory(hosts)
        lines = []
        for kind in ("endpoints", "hosts"):
            for name, fields in table[kind].items():
                lines.append(f"[vmware.{kind}.{json.dumps(name)}]")
                lines += [f"{key} = {json.dumps(value)}" for key, value in fields.items() if key != "password"]
                lines += [f"password = {{file = {json.dumps(str(secret))}}}"] if kind == "endpoints" else []
        return "\n".join((*lines, ""))

    # --- control of the front ---------------------------------------------------------------------------------------

    def calls(self) -> list[str]:
        """Return what was called since the last question: SOAP methods, and GET, HEAD, PUT of files."""
        answer: list[str] = json.loads(self._control("calls"))
        return answer

    def load(self) -> dict[str, int]:
        """Return, since the last question, how many calls came at once at `most`, and the `bytes` of the answers."""
        answer: dict[str, int] = json.loads(self._control("load"))
        return answer

    def delay(self, milliseconds: int) -> AbstractContextManager[None]:
        """Let every call take so much longer for a while."""
        return self._meanwhile("delay", {"each": f"{milliseconds}ms"}, {"each": "0ms"})

    def broken(self, *rules: Mapping[str, object]) -> AbstractContextManager[None]:
        """Break calls for a while; what a rule may say stands in `launcher/rules.go`."""
        return self._meanwhile("rules", {"body": json.dumps(rules).encode()}, {"body": b"[]"})

    def allowing(
        self, granted: Sequence[str] | None = None, *, unreadable: Sequence[str] = (), roles: bool = False
    ) -> AbstractContextManager[None]:
        """Let the fleet's user do only so much for a while.

        Args:
            granted: the privileges that it has on every object; `None`: all. What is in every role it has anyway.
            unreadable: managed object ids of what it may see, and not read.
            roles: it may not ask for privileges.
        """
        rights = json.dumps({"granted": granted, "unreadable": unreadable, "roles": roles})
        return self._meanwhile("rights", {"body": rights.encode()}, {"body": b"{}"})

    def down(self) -> AbstractContextManager[None]:
        """Keep it off the network for a while; open connections die."""
        return self._meanwhile("down", {"now": "true"}, {"now": "false"})

    def showing(self, identity: Identity) -> AbstractContextManager[None]:
        """Show another certificate for a while."""
        other, own = ({"certificate": str(one.certificate), "key": str(one.key)} for one in (identity, self.identity))
        return self._meanwhile("certificate", other, own)

    def expire_sessions(self) -> None:
        """End every session, without a word to its client."""
        self._control("expire")

    def sessions(self) -> int:
        """Return how many sessions there are."""
        return int(self._control("sessions"))

    def lock_tray(self, reference: str) -> None:
        """Let the guest of the VM with this managed object reference hold its tray."""
        self._control("lock", vm=reference)

    def connection_is(self, reference: str, state: str) -> AbstractContextManager[None]:
        """Let vSphere itself see a VM as `disconnected`, `inaccessible`, `orphaned` or `invalid` for a while."""
        return self._meanwhile("connection", {"vm": reference, "state": state}, {"vm": reference, "state": "connected"})

    def datastore_is(self, name: str, *, accessible: str = "", maintenance: str = "") -> AbstractContextManager[None]:
        """Change a datastore for a while: `accessible="false"`, `maintenance="inMaintenance"`."""
        which = {"directory": str(self.datastore(name))}
        changed = {"accessible": accessible, "maintenance": maintenance}
        return self._meanwhile("datastore", which | changed, which | {"accessible": "true", "maintenance": "normal"})

    def renamed(self, name: str, other: str) -> AbstractContextManager[None]:
        """Call a datastore otherwise for a while, in the paths of its VMs too; no VM's configuration has changed."""
        which = {"directory": str(self.datastore(name))}
        return self._meanwhile("rename", which | {"name": other}, which | {"name": name})

    @contextmanager
    def _meanwhile(self, what: str, changed: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[None]:
        self._control(what, **changed)
        try:
            yield
        finally:
            self._control(what, **before)

    def _answers(self) -> bool:
        try:
            return bool(self._control("sessions"))
        except OSError:
            return False

    def _control(self, what: str, *, body: bytes | None = None, **query: str) -> bytes:
        url = f"http://{LOOPBACK}:{self.plain_port}/control/{what}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, body, timeout=600) as answer:
            content: bytes = answer.read()
        return content
