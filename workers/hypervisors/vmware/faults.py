"""Faults of vSphere, its HTTPS folder and the network in the taxonomy's words. Nothing else may leave the driver."""

from __future__ import annotations

import http.client
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from xml.parsers.expat import ExpatError

from pyVmomi import vim, vmodl

from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from workers.driverkit.faults import Fault, Translator, os_reason
from workers.hypervisors.vmware.privileges import missing_of

if TYPE_CHECKING:
    from configdrive.errors import Code, FleetError

_BY_CLASS: Final[tuple[tuple[type[Exception], Code], ...]] = (
    (vim.fault.InvalidLogin, PermanentCode.ACCESS_DENIED),
    # A session that ended although it had just been opened: somebody ends sessions, or there are too many.
    (vim.fault.NotAuthenticated, TransientCode.HOST_UNREACHABLE),
    (vmodl.fault.SecurityError, PermanentCode.ACCESS_DENIED),
    (vim.fault.RestrictedVersion, PermanentCode.ACCESS_DENIED),  # a free ESXi licence lets nobody change anything
    (vim.fault.InaccessibleDatastore, TransientCode.STORAGE_UNAVAILABLE),
    (vim.fault.InvalidDatastore, TransientCode.STORAGE_UNAVAILABLE),  # was called so a moment ago
    (vim.fault.NoDiskSpace, TransientCode.STORAGE_FULL),
    (vim.fault.FileLocked, TransientCode.IMAGE_IN_USE),
    (vim.fault.FileNotFound, TransientCode.UPLOAD_CORRUPT),  # what was looked for just before: look and upload again
    (vim.fault.FileAlreadyExists, TransientCode.STORAGE_UNAVAILABLE),
    (vim.fault.FileFault, TransientCode.STORAGE_UNAVAILABLE),
    (vim.fault.TaskInProgress, TransientCode.VM_BUSY),
    (vim.fault.ConcurrentAccess, TransientCode.VM_BUSY),
    # All that follows from a state: powered on meanwhile, a host in maintenance, a VM that is being moved.
    (vmodl.fault.HostNotConnected, TransientCode.HOST_UNREACHABLE),
    (vim.fault.InvalidHostState, TransientCode.HOST_UNREACHABLE),
    (vim.fault.InvalidPowerState, TransientCode.VM_BUSY),
    (vim.fault.InvalidState, TransientCode.VM_BUSY),
    (vim.fault.ResourceInUse, TransientCode.VM_BUSY),
    (vim.fault.InvalidDeviceOperation, PermanentCode.NO_FREE_SLOT),
    (vim.fault.InvalidDeviceSpec, PermanentCode.NO_FREE_SLOT),
    (vim.fault.Timedout, TransientCode.TASK_TIMEOUT),
    (vim.fault.HostConnectFault, TransientCode.HOST_UNREACHABLE),
    (vmodl.fault.HostCommunication, TransientCode.HOST_UNREACHABLE),
    (vmodl.fault.ManagedObjectNotFound, TransientCode.VM_BUSY),  # was there a moment ago
    (vmodl.fault.NotSupported, PermanentCode.NOT_SUPPORTED),
    (vmodl.fault.MethodNotFound, PermanentCode.NOT_SUPPORTED),
)
"""vSphere's fault types, the narrower before the wider; one that is not here is `HYPERVISOR_ERROR`."""

_BY_STATUS: Final[dict[int, Code]] = {
    HTTPStatus.UNAUTHORIZED: PermanentCode.ACCESS_DENIED,
    HTTPStatus.FORBIDDEN: PermanentCode.ACCESS_DENIED,
    HTTPStatus.NOT_FOUND: TransientCode.STORAGE_UNAVAILABLE,
    HTTPStatus.BAD_REQUEST: TransientCode.UPLOAD_CORRUPT,
    HTTPStatus.SERVICE_UNAVAILABLE: TransientCode.HOST_UNREACHABLE,
    HTTPStatus.BAD_GATEWAY: TransientCode.HOST_UNREACHABLE,
    HTTPStatus.GATEWAY_TIMEOUT: TransientCode.HOST_UNREACHABLE,
    HTTPStatus.INSUFFICIENT_STORAGE: TransientCode.STORAGE_FULL,
}
"""What `/folder` answers; one that is not here is `STORAGE_UNAVAILABLE`."""

_REMEDY: Final[dict[Code, str]] = {
    TransientCode.HOST_UNREACHABLE: "see whether the vCenter or host runs, and the network leads to it",
    TransientCode.STORAGE_FULL: "free some space on the datastore",
    TransientCode.STORAGE_UNAVAILABLE: "look at the datastore in the vSphere client",
    PermanentCode.ACCESS_DENIED: "correct the credentials, the privileges or the licence",
    PermanentCode.NO_FREE_SLOT: "power the VM off first, or name other places in the inventory's cd_slots",
}


def vsphere_code(fault: Exception) -> Code:
    """Say which code of the taxonomy a fault of vSphere is."""
    return next((code for kind, code in _BY_CLASS if isinstance(fault, kind)), TransientCode.HYPERVISOR_ERROR)


def _read(error: Exception) -> Fault | None:
    if isinstance(error, vim.fault.NoPermission) and not isinstance(error, vim.fault.NotAuthenticated):
        missing = "; ".join(f"{', '.join(ids)} on {ref}" for ref, ids in missing_of(error))
        return Fault(PermanentCode.ACCESS_DENIED, f"NoPermission: {missing}")
    if isinstance(error, vmodl.MethodFault):
        return Fault(
            vsphere_code(error), f"{type(error).__name__.rpartition('.')[2]}: {error.msg or 'no more is said'}"
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message if hasattr(error, "verify_message") else str(error)
        remedy = "correct ca_file or fingerprint in the inventory, or find out who answers there"
        return Fault(PermanentCode.ACCESS_DENIED, f"the server's certificate is refused: {reason}", remedy)
    if isinstance(error, OSError | http.client.HTTPException):
        reason = os_reason(error) if isinstance(error, OSError) else str(error) or type(error).__name__
        return Fault(TransientCode.HOST_UNREACHABLE, reason)
    if isinstance(error, ExpatError):
        return Fault(TransientCode.HYPERVISOR_ERROR, "the server answered what is not XML")
    return None


translated: Final = Translator(_read, _REMEDY)
"""Turns every fault of the SDK, HTTP, TLS or the network into a `FleetError` whose detail begins with its argument."""


def status_error(status: int, what: str) -> FleetError:
    """Make the error for an HTTP status of the datastores' folder."""
    return translated.error(_BY_STATUS.get(status, TransientCode.STORAGE_UNAVAILABLE), f"{what}: HTTP status {status}")


def api_error(status: int, what: str) -> FleetError:
    """Make the error for an HTTP status that is no answer of the API: somebody in front of it says no."""
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        remedy = "see who answers in the place of the vCenter: a proxy, or a firewall of the host"
        return PermanentError(PermanentCode.ACCESS_DENIED, f"{what}: HTTP status {status}", remedy)
    if status == HTTPStatus.NOT_FOUND:  # also while a vCenter starts
        remedy = "see whether server and port in the inventory lead to a vCenter or ESXi host, and whether it is up"
        return TransientError(TransientCode.HYPERVISOR_ERROR, f"{what}: no vSphere API there (HTTP status 404)", remedy)
    return translated.error(TransientCode.HOST_UNREACHABLE, f"{what}: HTTP status {status}")
