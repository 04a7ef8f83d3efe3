"""`PUT /import_raw_vdi` and `GET /export_raw_vdi`: bytes of an image over HTTP, the truth in a task.

As xapi does it, the answer to an import is written before the body is read; a refusal closes the connection with the
body unread, which a client that is still sending sees as a reset. Recorded, with xapi's sources for the status lines.
"""

from __future__ import annotations

import base64
import binascii
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from rigs.xapi.api_pool import check_password, end_task, new_session, new_task, touch
from rigs.xapi.api_sr import file_of, plugged, sees
from rigs.xapi.dispatcher import Dropped
from rigs.xapi.errors import XapiError
from rigs.xapi.faults import EXPORT, IMPORT, Fault, Kind, fail_if_planted
from rigs.xapi.fields import NULL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from io import BufferedIOBase
    from pathlib import Path

    from rigs.xapi.world import Machine, World

_PIECE = 1 << 16
_FORMATS = ("raw", "vhd", "tar")


@dataclass(frozen=True)
class Request:
    """One transfer.

    Attributes:
        world: the pool.
        machine: the host that was asked.
        target: path and query, as they came.
        headers: by lower-case name.
        body: what follows the headers.
        reply: where the answer goes.
    """

    world: World
    machine: Machine
    target: str
    headers: Mapping[str, str]
    body: BufferedIOBase
    reply: BufferedIOBase

    @property
    def query(self) -> dict[str, str]:
        """The parameters; cookies are not looked at."""
        pairs = (part.partition("=") for part in urlsplit(self.target).query.split("&"))
        return {unquote(name): unquote(value) for name, _, value in pairs}


class Refused(Exception):  # noqa: N818  # one of several ways to answer
    """The transfer ends with this status line and header lines, the rest of the body unread."""

    def __init__(self, status: str, *headers: str) -> None:
        super().__init__(status)
        self.head = (f"HTTP/1.1 {status}", *headers, "Connection: close", "Cache-Control: no-cache, no-store")


def serve_import(request: Request) -> None:
    """Take an image's bytes.

    Raises:
        Dropped: a planted fault breaks the connection.
        Refused: not answered with 200.
    """
    world = request.world
    seconds, fault = _begin(request, IMPORT)
    with _session(request):
        with world.lock:
            vdi = _image(request)
            _redirect(request, vdi)
        with _task(request, "Importing raw VDI") as task:
            with world.lock:
                path = _open_task(request, task, vdi)
            with _held_by_dom0(request, vdi, task):
                _send(request, ("HTTP/1.1 200 OK", *_closing(task)))
                try:
                    _receive(request, path, vdi, task, fault)
                    request.world.faults.wait(seconds)
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
    seconds, fault = _begin(request, EXPORT)
    request.world.faults.wait(seconds)
    with _session(request):
        with world.lock:
            vdi = _image(request)
            _redirect(request, vdi)
            content = file_of(world, vdi).read_bytes()
        with _task(request, "Exporting raw VDI") as task:
            _send(request, ("HTTP/1.1 200 OK", *_closing(task)))
            if fault is not None:
                request.reply.write(content[: len(content) // 2])
                fault.break_off()
                raise Dropped
            request.reply.write(content)
            with world.lock:
                end_task(world, task)


def _begin(request: Request, name: str) -> tuple[float, Fault | None]:
    seconds, fault = request.world.faults.take(name)
    with request.world.lock:
        request.world.calls[name] += 1
    if fault is not None and fault.kind is Kind.DROP_BEFORE:
        fault.break_off()
        raise Dropped
    return seconds, fault


@contextmanager
def _session(request: Request) -> Iterator[None]:
    """Check who asks. Refused, the task that was named stays as it is: pending."""
    world = request.world
    own = None
    with world.lock:
        try:
            if "session_id" in request.query:
                touch(world, request.query["session_id"])
            else:
                check_password(world, *_basic(request.headers.get("authorization", "")))
                own = new_session(world, request.machine.reference)
        except XapiError:
            raise Refused("401 Unauthorized", 'WWW-Authenticate: Basic realm="VDI.import"') from None
    try:
        yield
    finally:
        if own is not None:
            with world.lock:
                world.db.remove("session", own)


def _basic(header: str) -> tuple[str, str]:
    try:
        user, _, password = base64.b64decode(header.removeprefix("Basic "), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return user, password


def _image(request: Request) -> str:
    """The image named by reference or uuid."""
    named = request.query.get("vdi", NULL)
    db = request.world.db
    try:
        return named if db.has("VDI", named) else db.by_uuid("VDI", named)
    except XapiError:
        raise Refused("500 Internal Error") from None


def _redirect(request: Request, vdi: str) -> None:
    """Send the client to a host that sees the SR. (xapi writes no port: there it is always 443.)"""
    world = request.world
    sr = world.db.row("VDI", vdi)["SR"]
    if sees(world, request.machine.reference, sr):
        return
    try:
        machine, _ = plugged(world, sr)
    except XapiError:
        raise Refused("500 Internal Error") from None
    raise Refused("302 Found", f"Location: https://{machine.address}:{world.port}{request.target}")


@contextmanager
def _task(request: Request, label: str) -> Iterator[str]:
    """Give the task that is named; else one of its own, of which nothing is left (not recorded; xapi's sources)."""
    world = request.world
    named = request.query.get("task_id")
    if named is not None:
        yield named
        return
    with world.lock:
        own = new_task(world, request.machine.reference, label)
    try:
        yield own
    finally:
        with world.lock:
            if world.db.has("task", own):
                world.db.remove("task", own)


def _open_task(request: Request, task: str, vdi: str) -> Path:
    """Check what fails the task, and return the file to write to."""
    world = request.world
    row = world.db.row("VDI", vdi)
    encoding = request.headers.get("transfer-encoding")
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
    db, host = request.world.db, request.machine.reference
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
    left = int(request.headers.get("content-length", room))
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


def _closing(task: str) -> tuple[str, ...]:
    return (
        "Connection: close",
        "Cache-Control: no-cache, no-store",
        f"task-id: {task}",
        "content-type: application/octet-stream",
    )


def _send(request: Request, lines: tuple[str, ...]) -> None:
    request.reply.write("\r\n".join((*lines, "", "")).encode("latin-1"))
    request.reply.flush()
