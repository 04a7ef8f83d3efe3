"""The taxonomy's words for what XAPI, TLS, SSH and the operating system say. Nothing else may leave the driver.

XAPI's codes: "Error codes" of the XenServer management API reference; `SR_BACKEND_FAILURE_<n>` are those of sm
(XE_SR_ERRORCODES.xml).
"""

from __future__ import annotations

import errno
import ssl
from http.client import HTTPException
from typing import TYPE_CHECKING, Final
from xml.parsers.expat import ExpatError
from xmlrpc.client import Error as XmlRpcError

from pydantic import ValidationError
from XenAPI.XenAPI import Failure

from configdrive.errors import PermanentCode, TransientCode
from workers.driverkit.faults import Fault, Translator, os_reason
from workers.driverkit.ssh import ssh_fault

if TYPE_CHECKING:
    from configdrive.errors import Code

NAME_TAKEN: Final = "SR_BACKEND_FAILURE_43"
"""A VDI with this file name lies in the ISO SR already."""

NOT_MOUNTED: Final = "SR_BACKEND_FAILURE_222"
"""An NFS directory that cannot be mounted: it is not there (recorded), or its server is slow."""

_BY_CODE: Final[dict[str, Code]] = {
    "SESSION_AUTHENTICATION_FAILED": PermanentCode.ACCESS_DENIED,
    "SESSION_INVALID": TransientCode.HOST_UNREACHABLE,
    "RBAC_PERMISSION_DENIED": PermanentCode.ACCESS_DENIED,
    "PERMISSION_DENIED": PermanentCode.ACCESS_DENIED,
    "HOST_IS_SLAVE": TransientCode.HOST_UNREACHABLE,
    "HOST_STILL_BOOTING": TransientCode.HOST_UNREACHABLE,
    "HOST_OFFLINE": TransientCode.HOST_UNREACHABLE,
    "HOST_NOT_LIVE": TransientCode.HOST_UNREACHABLE,
    "CANNOT_CONTACT_HOST": TransientCode.HOST_UNREACHABLE,
    "HOST_DISABLED": TransientCode.HOST_UNREACHABLE,
    "HOST_CANNOT_READ_METADATA": TransientCode.HOST_UNREACHABLE,
    "TOO_BUSY": TransientCode.VM_BUSY,
    "OTHER_OPERATION_IN_PROGRESS": TransientCode.VM_BUSY,
    "OPERATION_NOT_ALLOWED": TransientCode.VM_BUSY,
    "OPERATION_BLOCKED": PermanentCode.ACCESS_DENIED,
    "VM_BAD_POWER_STATE": TransientCode.VM_BUSY,
    "VM_REQUIRES_SR": PermanentCode.STORAGE_NOT_FOUND,
    "HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN": PermanentCode.MISCONFIGURED,
    "HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED": PermanentCode.MISCONFIGURED,  # newer releases
    "VM_MISSING_PV_DRIVERS": PermanentCode.NOT_SUPPORTED,
    "DEVICE_ALREADY_EXISTS": TransientCode.VM_BUSY,
    "DEVICE_DETACH_REJECTED": TransientCode.DRIVE_LOCKED,
    "DEVICE_DETACH_TIMEOUT": TransientCode.DRIVE_LOCKED,
    "DEVICE_ATTACH_TIMEOUT": TransientCode.VM_BUSY,
    "INVALID_DEVICE": PermanentCode.NO_FREE_SLOT,
    "VBD_NOT_EMPTY": TransientCode.VM_BUSY,
    "VBD_IS_EMPTY": TransientCode.VM_BUSY,
    "VBD_TRAY_LOCKED": TransientCode.DRIVE_LOCKED,
    "VDI_IN_USE": TransientCode.IMAGE_IN_USE,
    "VDI_MISSING": TransientCode.STORAGE_UNAVAILABLE,
    "VDI_NOT_AVAILABLE": TransientCode.STORAGE_UNAVAILABLE,
    "VDI_IO_ERROR": TransientCode.STORAGE_UNAVAILABLE,
    "SR_FULL": TransientCode.STORAGE_FULL,
    "SR_HAS_NO_PBDS": TransientCode.STORAGE_UNAVAILABLE,
    "SR_NOT_ATTACHED": TransientCode.STORAGE_UNAVAILABLE,
    "SR_ATTACH_FAILED": TransientCode.STORAGE_UNAVAILABLE,
    "SR_BACKEND_FAILURE": TransientCode.STORAGE_UNAVAILABLE,
    "SR_OPERATION_NOT_SUPPORTED": PermanentCode.NOT_SUPPORTED,
    "MESSAGE_METHOD_UNKNOWN": PermanentCode.NOT_SUPPORTED,
    "MESSAGE_PARAMETER_COUNT_MISMATCH": PermanentCode.NOT_SUPPORTED,
    "NOT_IMPLEMENTED": PermanentCode.NOT_SUPPORTED,
    "LICENCE_RESTRICTION": PermanentCode.NOT_SUPPORTED,
    "FEATURE_RESTRICTED": PermanentCode.NOT_SUPPORTED,
    "TASK_CANCELLED": TransientCode.TASK_TIMEOUT,
    "OUT_OF_SPACE": TransientCode.STORAGE_FULL,
    "SR_BACKEND_FAILURE_44": TransientCode.STORAGE_FULL,  # there is insufficient space
    "SR_BACKEND_FAILURE_94": PermanentCode.MISCONFIGURED,  # the request is missing the location parameter
    "SR_BACKEND_FAILURE_225": PermanentCode.MISCONFIGURED,  # incorrect location string format
    "SR_BACKEND_FAILURE_226": PermanentCode.MISCONFIGURED,  # invalid local path
}
"""One that is not here is `HYPERVISOR_ERROR`, which is tried again."""

_BY_HANDLE: Final[dict[str, Code]] = {
    "VM": TransientCode.VM_BUSY,
    "VBD": TransientCode.VM_BUSY,
    "VDI": TransientCode.STORAGE_UNAVAILABLE,
    "SR": TransientCode.STORAGE_UNAVAILABLE,
    "PBD": TransientCode.STORAGE_UNAVAILABLE,
}
"""What was there a moment ago: `HANDLE_INVALID` and `UUID_INVALID` say the class first."""

_BY_ERRNO: Final[dict[int, Code]] = {
    errno.ENOENT: PermanentCode.MISCONFIGURED,
    errno.EACCES: PermanentCode.MISCONFIGURED,
    errno.EISDIR: PermanentCode.MISCONFIGURED,
    errno.ENOTDIR: PermanentCode.MISCONFIGURED,
}
"""The only files that the driver opens here are certificates and keys; all else is the network's."""

_REMEDY: Final[dict[Code, str]] = {
    TransientCode.HOST_UNREACHABLE: "see whether the host is up and its toolstack runs: systemctl status xapi",
    TransientCode.STORAGE_FULL: "free some space on it",
    TransientCode.STORAGE_UNAVAILABLE: "see `xe sr-list` and `xe pbd-list`: the SR must be attached on the host",
    PermanentCode.ACCESS_DENIED: "correct the credentials, the certificate or the role in the inventory",
    PermanentCode.MISCONFIGURED: "run `configdrive doctor`: it says what to set up",
}

_HA_REMEDY: Final = (
    "HA is to restart this VM on any host, so its image must lie where all hosts see it: name an NFS SR as "
    "'fallback_sr' in the pool's table"
)

_MOST_TEXT: Final = 300


def code_of(failure: Failure) -> str:
    """Return XAPI's own code of an error."""
    details = failure.details
    return str(details[0]) if isinstance(details, list | tuple) and details else "UNKNOWN"


def param_of(failure: Failure, number: int) -> str:
    """Return one of an error's parameters, counted from 1; empty when there are not so many."""
    details = failure.details
    return str(details[number]) if isinstance(details, list | tuple) and len(details) > number else ""


def xapi_code(failure: Failure) -> Code:
    """Say which code of the taxonomy an error of XAPI is."""
    code = code_of(failure)
    if code in {"HANDLE_INVALID", "UUID_INVALID"}:
        return _BY_HANDLE.get(param_of(failure, 1), TransientCode.HYPERVISOR_ERROR)
    if code.startswith("SR_BACKEND_FAILURE_"):
        return _BY_CODE.get(code, TransientCode.STORAGE_UNAVAILABLE)
    return _BY_CODE.get(code, TransientCode.HYPERVISOR_ERROR)


def os_code(error: OSError) -> Code:
    """Say which code of the taxonomy an error of the operating system is; a certificate's is `ACCESS_DENIED`."""
    if isinstance(error, ssl.SSLError):
        # Whoever breaks a handshake off is away; whoever ends it with another certificate is not who he should be.
        gone = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLWantReadError)
        return TransientCode.HOST_UNREACHABLE if gone else PermanentCode.ACCESS_DENIED
    return _BY_ERRNO.get(error.errno or 0, TransientCode.HOST_UNREACHABLE)


def _read(error: Exception) -> Fault | None:
    if isinstance(error, Failure):
        remedy = _HA_REMEDY if code_of(error).startswith("HA_") else ""
        return Fault(xapi_code(error), _text(error), remedy, chained=False)
    if isinstance(error, OSError):
        return Fault(os_code(error), os_reason(error))
    if isinstance(error, HTTPException | XmlRpcError | ExpatError):
        # Not their texts: they may quote what was sent.
        text = f"XAPI has not answered as it should ({type(error).__name__})"
        return Fault(TransientCode.HOST_UNREACHABLE, text, chained=False)
    if isinstance(error, ValidationError | TypeError | KeyError):
        return Fault(TransientCode.HYPERVISOR_ERROR, f"XAPI's answer cannot be read ({type(error).__name__})")
    return ssh_fault(error)


translated: Final = Translator(_read, _REMEDY)
"""Turns every fault of XAPI, TLS, SSH and the system into a `FleetError` whose detail begins with its argument."""


def _text(failure: Failure) -> str:
    """Return the code with what XAPI says of it; never a session's reference, which is as good as a password."""
    if code_of(failure) == "SESSION_INVALID":
        return "SESSION_INVALID"
    parts = [str(part) for part in failure.details if part] if isinstance(failure.details, list) else []
    return " ".join(parts)[:_MOST_TEXT] or "unknown failure"
