import errno
import http.client
import socket
import ssl
import xmlrpc.client
from typing import Any
from xml.parsers.expat import ExpatError

import asyncssh
import pytest
from XenAPI.XenAPI import Failure

from configdrive.errors import FleetError, PermanentCode, PermanentError, TransientCode, TransientError
from workers.hypervisors.xenserver.faults import translated, xapi_code


def failure(*details: str) -> Failure:
    return Failure(list(details))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("details", "code"),
    [
        # As xapi 23.14 said them.
        (("VM_REQUIRES_SR", "OpaqueRef:a", "OpaqueRef:b"), "storage_not_found"),
        (("HOST_DISABLED", "OpaqueRef:a"), "host_unreachable"),
        (("HOST_IS_SLAVE", "10.99.0.1"), "host_unreachable"),
        (("HOST_STILL_BOOTING",), "host_unreachable"),
        (("SESSION_INVALID", "OpaqueRef:bad"), "host_unreachable"),
        (("SESSION_AUTHENTICATION_FAILED", "root", "System error"), "access_denied"),
        (("SR_BACKEND_FAILURE_43", "", "The VDI already exists", ""), "storage_unavailable"),
        (("SR_BACKEND_FAILURE_78", "", "VDI Creation failed", ""), "storage_unavailable"),
        (("SR_BACKEND_FAILURE_108", "", "Unable to detect an NFS service on this target.", ""), "storage_unavailable"),
        (("SR_BACKEND_FAILURE_225", "", "Incorrect Location string format.", ""), "misconfigured"),
        (("SR_BACKEND_FAILURE_226", "", "Invalid local path", ""), "misconfigured"),
        (("SR_HAS_NO_PBDS", "OpaqueRef:a"), "storage_unavailable"),
        (("SR_OPERATION_NOT_SUPPORTED", "OpaqueRef:a"), "not_supported"),
        (("VDI_IO_ERROR", "Device I/O errors"), "storage_unavailable"),
        (("VDI_IN_USE", "OpaqueRef:a", "destroy"), "image_in_use"),
        (("HANDLE_INVALID", "VDI", "OpaqueRef:a"), "storage_unavailable"),
        (("HANDLE_INVALID", "VBD", "OpaqueRef:a"), "vm_busy"),
        (("HANDLE_INVALID", "host", "OpaqueRef:bad"), "hypervisor_error"),
        (("UUID_INVALID", "VM", "0"), "vm_busy"),
        (("VBD_NOT_EMPTY", "OpaqueRef:a"), "vm_busy"),
        (("INVALID_DEVICE", "xx"), "no_free_slot"),
        (("OPERATION_NOT_ALLOWED", "HVM CDROMs cannot be hotplugged/unplugged"), "vm_busy"),
        (("VM_BAD_POWER_STATE", "OpaqueRef:a", "paused", "running"), "vm_busy"),
        (("MESSAGE_METHOD_UNKNOWN", "VM.frobnicate"), "not_supported"),
        # As its sources have them.
        (("OPERATION_BLOCKED", "OpaqueRef:a", "reason"), "access_denied"),
        (("OTHER_OPERATION_IN_PROGRESS", "VM", "OpaqueRef:a", "pool_migrate", "OpaqueRef:task"), "vm_busy"),
        (("HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN",), "misconfigured"),
        (("HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED", "OpaqueRef:a"), "misconfigured"),
        (("INTERNAL_ERROR", "Unix.Unix_error(Unix.EPIPE)"), "hypervisor_error"),
        (("SOMETHING_NEW",), "hypervisor_error"),
    ],
)
def test_xapi_s_errors_have_their_codes(details: tuple[str, ...], code: str) -> None:
    assert xapi_code(failure(*details)) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), TransientCode.HOST_UNREACHABLE),
        (ConnectionResetError(), TransientCode.HOST_UNREACHABLE),
        (TimeoutError("timed out"), TransientCode.HOST_UNREACHABLE),
        (socket.gaierror(-2, "Name or service not known"), TransientCode.HOST_UNREACHABLE),
        (FileNotFoundError(errno.ENOENT, "No such file"), PermanentCode.MISCONFIGURED),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), PermanentCode.ACCESS_DENIED),
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), TransientCode.HOST_UNREACHABLE),
        (http.client.BadStatusLine(""), TransientCode.HOST_UNREACHABLE),
        (http.client.IncompleteRead(b""), TransientCode.HOST_UNREACHABLE),
        (xmlrpc.client.ProtocolError("h", 500, "no", {}), TransientCode.HOST_UNREACHABLE),
        (xmlrpc.client.Fault(500, "Tried 3 times to get a valid session"), TransientCode.HOST_UNREACHABLE),
        (ExpatError("syntax error"), TransientCode.HOST_UNREACHABLE),
        (KeyError("uuid"), TransientCode.HYPERVISOR_ERROR),
        (asyncssh.HostKeyNotVerifiable("no"), PermanentCode.ACCESS_DENIED),
        (asyncssh.PermissionDenied("no"), PermanentCode.ACCESS_DENIED),
        (asyncssh.ConnectionLost("no"), TransientCode.HOST_UNREACHABLE),
        (asyncssh.SFTPNoSpaceOnFilesystem("no"), TransientCode.STORAGE_FULL),
        (asyncssh.SFTPNoSuchFile("no"), TransientCode.STORAGE_UNAVAILABLE),
        (asyncssh.KeyImportError("no"), PermanentCode.MISCONFIGURED),
    ],
)
def test_every_other_fault_has_one_too(error: Exception, code: TransientCode | PermanentCode) -> None:
    with pytest.raises(FleetError) as caught, translated("host h"):
        raise error
    assert caught.value.code is code
    assert caught.value.detail.startswith("host h")


@pytest.mark.parametrize(
    "error",
    [
        TransientError(TransientCode.VM_BUSY, "as it was"),
        PermanentError(PermanentCode.NO_FREE_SLOT, "as it was"),
        KeyboardInterrupt(),
        AssertionError(),
    ],
)
def test_our_own_errors_and_interruptions_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, translated("x"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("details", [["SESSION_INVALID", "OpaqueRef:secret"], [], None, "text"])
def test_a_session_is_not_shown_and_odd_details_are_no_trouble(details: Any) -> None:  # noqa: ANN401
    with pytest.raises(FleetError) as caught, translated("x"):
        raise Failure(details)  # type: ignore[no-untyped-call]
    assert "secret" not in repr(caught.value)
