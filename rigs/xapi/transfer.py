"""`PUT /import_raw_vdi` and `GET /export_raw_vdi`: bytes of an image over HTTP, the truth in a task.

As xapi does it, the answer to an import is written before the body is read; a refusal closes the connection with the
body unread, which a client that is still sending sees as a reset. Recorded, with xapi's sources for the status lines.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from io import BufferedIOBase
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from rigs.xapi.api_pool import check_session, end_task
from rigs.xapi.api_sr import file_of, plugged, sees
from rigs.xapi.dispatcher import Dropped, begin
from rigs.xapi.errors import XapiError
from rigs.xapi.faults import EXPORT, IMPORT, Fault, Kind, fail_if_planted
from rigs.xapi.fields import NULL
from rigs.xapi.world import World, XapiHost

_PIECE = 1 << 16
_FORMATS = ("raw", "vhd", "tar")
_CLOSING = ("Connection: close", "Cache-Control: no-cache, no-store")


@dataclass(frozen=True)
class Request:
    """One transfer: the pool and the host that was asked; path and query as they came; where the answer goes."""

    world: World
    host: XapiHost
    target: str
    headers: Message
    body: BufferedIOBase
    reply: BufferedIOBase

    @property
    def query(self) -> dict[str, str]:
        """The parameters; cookies are not looked at."""
        return dict(parse_qsl(urlsplit(self.target).query))


class Refused(Exception):  # noqa: N818  # one of several ways to answer
    """The transfer ends with this status line and header lines, the rest of the body unread."""

    def __init__(self, status: str, *headers: str) -> None:
        super().__init__(status)
        self.head = (f"HTTP/1.1 {status}", *headers, *_CLOSING)


def serve_import(request: Request) -> None:
    """Take an image's bytes.

    Raises:
        Dropped: a planted fault breaks the connection.
        Refused: not answered with 200.
    """
    world = request.world
    seconds, fault = begin(world, IMPORT)
    with world.lock:
        vdi = _image(request)
    with _task(request) as task:
        with world.lock:
            path = _open_task(request, task, vdi)
        with _held_by_dom0(request, vdi, task):
            _say_ok(request, task)
            try:
                _receive(request, path, vdi, task, fault)
                world.faults.wait(seconds)
                fail_if_planted(fault)
            except XapiError as error:
                with world.lock:
                    end_task(world, task, error=error.description)
                raise Dropped from None
        with world.lock:
            end_task(world, task, result=f"<value>{vdi}</value>")


def serve_export(request: Request) -> None:
    """Send an image's bytes, all of them, until the connection's end.

    Raises:
        Dropped: a planted fault breaks the connection.
        Refused: not answered with 200.
    """
    world = request.world
    seconds, fault = begin(world, EXPORT)
    world.faults.wait(seconds)
    with world.lock:
        content = file_of(world, _image(request)).read_bytes()
    with _task(request) as task:
        _say_ok(request, task)
        if fault is not None:
            request.reply.write(content[: len(content) // 2])
            fault.break_off()
            raise Dropped
        request.reply.write(content)
        with world.lock:
            end_task(world, task)


def _image(request: Request) -> str:
    """The image that is named by reference or uuid. Refused, the task that was named stays as it is: pending.

    The client is sent to a host that sees the SR. (xapi writes no port: there it is always 443.)
    """
    world, query = request.world, request.query
    try:
        check_session(world, query.get("session_id", NULL))
    except XapiError:
        raise Refused("401 Unauthorized", 'WWW-Authenticate: Basic realm="VDI.import"') from None
    try:
        vdi = query.get("vdi", NULL)
        vdi = vdi if world.db.has("VDI", vdi) else world.db.by_uuid("VDI", vdi)
        sr = world.db.row("VDI", vdi)["SR"]
        if sees(world, request.host.reference, sr):
            return vdi
        host, _ = plugged(world, sr)
    except XapiError:
        raise Refused("500 Internal Error") from None
    raise Refused("302 Found", f"Location: {host.url}{request.target}")


@contextmanager
def _task(request: Request) -> Iterator[str]:
    """Give the task that is named; else one of its own, of which nothing is left (not recorded; xapi's sources)."""
    world = request.world
    named = request.query.get("task_id")
    if named is not None:
        yield named
        return
    with world.lock:
        own = world.db.add("task")
    try:
        yield own
    finally:
        with world.lock:
            world.db.remove("task", own)


def _open_task(request: Request, task: str, vdi: str) -> Path:
    """Check what fails the task, and return the file to write to."""
    world = request.world
    row = world.db.row("VDI", vdi)
    encoding = request.headers.get("Transfer-Encoding")
    wanted = request.query.get("format", "raw")
    status, error = "", XapiError("INTERNAL_ERROR")
    if wanted not in _FORMATS:
        status, error = "404 Not Found", XapiError("INTERNAL_ERROR", f"Unknown format {wanted}")
    elif encoding is not None:
        status, error = "403 Forbidden", XapiError("INTERNAL_ERROR", f"Cannot handle encoding: {encoding}")
    elif row["read_only"]:
        status, error = "500 Internal Error", XapiError("VDI_READONLY", vdi)
    if status:
        end_task(world, task, error=error.description)
        raise Refused(status)
    if world.db.has("task", task):
        world.db.row("task", task)["_running"] = True
    return file_of(world, vdi)


@contextmanager
def _held_by_dom0(request: Request, vdi: str, task: str) -> Iterator[None]:
    """Attach the image to the host's control domain meanwhile: it cannot be destroyed.

    A toolstack that is restarted meanwhile leaves it so (seen on a real xapi 23.14).
    """
    db, host = request.world.db, request.host.reference
    with request.world.lock:
        restarts = request.world.restarts[host]
        vm = db.row("host", host)["control_domain"]
        kind = {"mode": "RW", "type": "Disk", "userdevice": "0", "other_config": {"task_id": task}}
        vbd = db.add("VBD", VM=vm, VDI=vdi, currently_attached=True, **kind)
    try:
        yield
    finally:
        with request.world.lock:
            if request.world.restarts[host] == restarts:
                db.remove("VBD", vbd)


def _receive(request: Request, path: Path, vdi: str, task: str, fault: Fault | None) -> None:
    world = request.world
    room = int(world.db.row("VDI", vdi)["virtual_size"])
    left = int(request.headers.get("Content-Length", room))
    breaks_at = left // 2 if fault is not None and fault.kind is Kind.DROP_AFTER else 0
    lost_from = left // 2 if fault is not None and fault.kind is Kind.FAIL else 0
    with path.open("r+b") as file:
        while left > breaks_at:
            piece = request.body.read(min(left, _PIECE))
            if not piece:
                raise XapiError("INTERNAL_ERROR", 'Unix.Unix_error(Unix.EPIPE, "single_write", "")')
            if left > lost_from:
                file.write(piece[:room])
            if len(piece) > room:
                raise XapiError("VDI_IO_ERROR", "Device I/O errors")
            room -= len(piece)
            left -= len(piece)
            with world.lock:
                if world.db.has("task", task) and world.db.row("task", task)["status"] == "cancelling":
                    raise XapiError("TASK_CANCELLED", task)
    if fault is not None and breaks_at:
        fault.break_off()
        raise XapiError("INTERNAL_ERROR", 'Unix.Unix_error(Unix.EPIPE, "single_write", "")')


def _say_ok(request: Request, task: str) -> None:
    head = ("HTTP/1.1 200 OK", *_CLOSING, f"task-id: {task}", "content-type: application/octet-stream")
    request.reply.write("\r\n".join((*head, "", "")).encode("latin-1"))
    request.reply.flush()
