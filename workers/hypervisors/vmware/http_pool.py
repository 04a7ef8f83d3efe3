"""pyvmomi's connection pool, as we need it; and HTTP requests for files over the same verified connections."""

from __future__ import annotations

import http.client
import re
import ssl
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pyVmomi import SoapStubAdapter, vim
from typing_extensions import override

from configdrive.errors import TransientCode, TransientError
from workers.hypervisors.vmware.faults import api_error

if TYPE_CHECKING:
    from collections.abc import Callable

_STATUS: Final = re.compile(r"(\d{3}) ")
"""How pyvmomi begins its words about an answer that is none of the API's."""

_NONSENSE: Final = (LookupError, TypeError, ValueError, AttributeError, AssertionError)
"""What pyvmomi raises of an answer with types or values that it does not know."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server answered to a request for a file."""

    status: int
    length: int | None
    content: bytes


class Stub(SoapStubAdapter):  # type: ignore[misc]  # pyvmomi's types are not looked at
    """pyvmomi's connection pool, which looks whether a connection still lives, and logs in again when it has to."""

    log_in: Callable[[int], None]
    """Called with the number of the session that is no longer good."""
    logins: int = 0
    """Sessions that were opened so far."""
    logging_in: int | None = None
    """The thread that is just logging in: its calls are not made twice."""

    def speak(self, version: str) -> None:
        """Use this version of the API from now on, also an older one than before."""
        del self.version
        self.ComputeVersionInfo(version)

    @override
    def GetConnection(self) -> Any:
        for _ in range(self.poolSize):
            connection = super().GetConnection()
            if _is_alive(connection.sock):
                return connection
            connection.close()
        return super().GetConnection()

    @override
    def InvokeMethod(self, mo: Any, info: Any, args: Any, outerStub: Any = None) -> Any:
        before = self.logins
        try:
            return self._invoke(mo, info, args, outerStub)
        except vim.fault.NotAuthenticated:
            if self.logging_in == threading.get_ident():
                raise
            self.log_in(before)
            return self._invoke(mo, info, args, outerStub)

    def _invoke(self, mo: Any, info: Any, args: Any, outer: Any) -> Any:  # noqa: ANN401
        try:
            return super().InvokeMethod(mo, info, args, outer)
        except http.client.HTTPException as error:
            refused = _STATUS.match(str(error)) if type(error) is http.client.HTTPException else None
            if refused is None:
                raise
            raise api_error(int(refused[1]), f"{self.host}, {self.path}") from error
        except OSError:
            raise  # a refused certificate is a ValueError as well
        except _NONSENSE as error:
            detail = f"{self.host} answered {info.name} with what its API does not know ({type(error).__name__})"
            raise TransientError(TransientCode.HYPERVISOR_ERROR, detail) from error


def _is_alive(sock: Any) -> bool:  # noqa: ANN401  # the socket of an http.client connection
    """Whether the other end has kept a connection that rests. Nobody was asked anything: whatever comes is the end."""
    if sock is None:
        return True  # it connects when it is used
    limit = sock.gettimeout()
    sock.settimeout(0)
    try:
        sock.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False
    else:
        return False
    finally:
        sock.settimeout(limit)


def ask(connection: Any, method: str, target: str, body: bytes | None, cookie: str) -> Reply:  # noqa: ANN401
    """Make one request, with this cookie, over an `http.client` connection."""
    headers = {"Cookie": cookie}
    if body is not None:
        headers |= {"Content-Type": "application/octet-stream", "Content-Length": str(len(body))}
    connection.request(method, target, body, headers)
    answer = connection.getresponse()
    length = answer.getheader("Content-Length")
    return Reply(answer.status, None if length is None else int(length), answer.read())
