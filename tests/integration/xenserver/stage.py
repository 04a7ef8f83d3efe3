"""Where recordings are played again: a pool of the rig, clients that hide nothing, and the lines as they come."""

import http.client
import ssl
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, Self

from rigs.xapi import XapiError, XapiHost, XapiPool
from tests.integration.xenserver.recordings import Answer

P = ParamSpec("P")

NULL = "OpaqueRef:NULL"
LONG = bytes(24 << 20)
"""More than the buffers between two sockets hold, so that a client is still sending when it is refused."""


RESET = ("ConnectionResetError", "[Errno 104] Connection reset by peer")
"""What comes of a transfer whose connection was broken."""


class Client:
    """Talks to one host.

    Args:
        url: of the host.
        ca: the authority to trust.
        session: to use, else one is opened with `login`.
    """

    def __init__(self, url: str, ca: Path, session: str = "") -> None:
        self._context = ssl.create_default_context(cafile=str(ca))
        self._proxy = xmlrpc.client.ServerProxy(url, context=self._context)
        self._address, _, port = url.removeprefix("https://").partition(":")
        self._port = int(port)
        self.session = session

    def raw(self, method: str, *arguments: object) -> dict[str, Any]:
        """The whole answer."""
        answer = getattr(self._proxy, method)(*arguments)
        assert isinstance(answer, dict)
        return answer

    def bare(self, method: str, *arguments: object) -> Any:  # noqa: ANN401  # the API has all types
        """Send a message that takes no session.

        Raises:
            XapiError: the answer is a failure.
        """
        answer = self.raw(method, *arguments)
        if answer["Status"] != "Success":
            raise XapiError(*answer["ErrorDescription"])
        return answer["Value"]

    def login(self, user: str, password: str) -> str:
        """Open a session and keep it."""
        self.session = self.bare("session.login_with_password", user, password, "1.0", "rig")
        return self.session

    def __call__(self, method: str, *arguments: object) -> Any:  # noqa: ANN401
        """Send a message with the session.

        Raises:
            XapiError: the answer is a failure.
        """
        return self.bare(method, self.session, *arguments)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._proxy("close")()

    def connect(self) -> http.client.HTTPSConnection:
        """A connection for a transfer."""
        return http.client.HTTPSConnection(self._address, self._port, context=self._context, timeout=600)

    @contextmanager
    def ask(self, target: str, length: int) -> Iterator[ssl.SSLSocket]:
        """Send the head of an import and read that of the answer; the body can be sent into the socket then."""
        connection = self.connect()
        connection.putrequest("PUT", target)
        connection.putheader("Content-Length", str(length))
        connection.endheaders()
        socket = connection.sock
        assert isinstance(socket, ssl.SSLSocket)
        with connection.getresponse():
            yield socket
        connection.close()

    def put(self, content: bytes, *, task: str | None = None, vdi: str, **changes: str | None) -> tuple[object, ...]:
        """Import with the whole body sent before the answer is read, as most clients do it.

        Args:
            content: the body.
            task: that has the truth.
            vdi: reference or uuid.
            changes: other parameters of the query, `None` to leave one out; `te` for a transfer encoding.
        """
        query = {"session_id": self.session, "vdi": vdi, "format": "raw", "task_id": task, **changes}
        encoding = query.pop("te", None)
        path = "/import_raw_vdi?" + "&".join(f"{name}={value}" for name, value in query.items() if value is not None)
        connection = self.connect()
        answer: tuple[object, ...] = RESET
        with suppress(OSError):
            connection.request("PUT", path, iter([content]) if encoding else content, encode_chunked=bool(encoding))
            response = connection.getresponse()
            answer = (response.status, response.reason, dict(response.getheaders()), response.read())
        connection.close()
        return (*answer, *self.state(task))

    def state(self, task: str | None) -> tuple[object, ...]:
        """What a task says now: XAPI ends one before the connection."""
        if task is None:
            return ()
        record = self("task.get_record", task)
        return ("task", record["status"], record["error_info"], record["progress"], record["result"])


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
    def open(cls, pool: XapiPool) -> Iterator["Stage"]:
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
