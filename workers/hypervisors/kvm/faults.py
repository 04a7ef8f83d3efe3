"""The faults of libvirt, SSH and the operating system in the words of the taxonomy. Nothing else leaves the driver."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final
from xml.etree.ElementTree import ParseError

import libvirt

from configdrive.errors import PermanentCode, TransientCode
from workers.driverkit.faults import Fault, Translator, os_reason
from workers.driverkit.ssh import ssh_fault

if TYPE_CHECKING:
    from configdrive.errors import Code

_LINK_DOMAINS: Final = frozenset({libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE})
"""Parts of libvirt that are about the connection itself, not about what was asked over it."""

_BY_CODE: Final[dict[int, Code]] = {
    # What was there a moment ago. A VM or pool that is not there at first is reported by whoever looks for it.
    libvirt.VIR_ERR_NO_DOMAIN: TransientCode.VM_BUSY,
    libvirt.VIR_ERR_NO_STORAGE_POOL: TransientCode.STORAGE_UNAVAILABLE,
    libvirt.VIR_ERR_NO_STORAGE_VOL: TransientCode.STORAGE_UNAVAILABLE,
    libvirt.VIR_ERR_STORAGE_VOL_EXIST: TransientCode.STORAGE_UNAVAILABLE,
    libvirt.VIR_ERR_AUTH_FAILED: PermanentCode.ACCESS_DENIED,
    libvirt.VIR_ERR_AUTH_CANCELLED: PermanentCode.ACCESS_DENIED,
    libvirt.VIR_ERR_AUTH_UNAVAILABLE: PermanentCode.ACCESS_DENIED,
    libvirt.VIR_ERR_ACCESS_DENIED: PermanentCode.ACCESS_DENIED,
    libvirt.VIR_ERR_OPERATION_DENIED: PermanentCode.ACCESS_DENIED,
    libvirt.VIR_ERR_NO_CONNECT: TransientCode.HOST_UNREACHABLE,
    libvirt.VIR_ERR_INVALID_CONN: TransientCode.HOST_UNREACHABLE,
    libvirt.VIR_ERR_RPC: TransientCode.HOST_UNREACHABLE,
    libvirt.VIR_ERR_GNUTLS_ERROR: TransientCode.HOST_UNREACHABLE,
    libvirt.VIR_ERR_SSH: TransientCode.HOST_UNREACHABLE,
    libvirt.VIR_ERR_LIBSSH: TransientCode.HOST_UNREACHABLE,
    libvirt.VIR_ERR_UNKNOWN_HOST: TransientCode.HOST_UNREACHABLE,
    libvirt.VIR_ERR_OPERATION_TIMEOUT: TransientCode.VM_BUSY,
    libvirt.VIR_ERR_RESOURCE_BUSY: TransientCode.VM_BUSY,
    libvirt.VIR_ERR_BLOCK_COPY_ACTIVE: TransientCode.VM_BUSY,
    libvirt.VIR_ERR_OPERATION_INVALID: TransientCode.VM_BUSY,  # "domain is not running": it changed under our hands
    libvirt.VIR_ERR_NO_SUPPORT: PermanentCode.NOT_SUPPORTED,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED: PermanentCode.NOT_SUPPORTED,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED: PermanentCode.NOT_SUPPORTED,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED: PermanentCode.NOT_SUPPORTED,
}
"""libvirt's error codes; one that is not here is `HYPERVISOR_ERROR`, which is tried again."""

_BY_ERRNO: Final[dict[int, Code]] = {
    errno.ENOSPC: TransientCode.STORAGE_FULL,
    errno.EDQUOT: TransientCode.STORAGE_FULL,
    errno.EACCES: PermanentCode.ACCESS_DENIED,
    errno.EPERM: PermanentCode.ACCESS_DENIED,
    errno.EROFS: PermanentCode.ACCESS_DENIED,
    errno.ENOENT: TransientCode.STORAGE_UNAVAILABLE,
    errno.ENOTDIR: TransientCode.STORAGE_UNAVAILABLE,
    errno.EISDIR: TransientCode.STORAGE_UNAVAILABLE,
    errno.EIO: TransientCode.STORAGE_UNAVAILABLE,
    errno.ESTALE: TransientCode.STORAGE_UNAVAILABLE,
}
"""What the host's operating system answered about a file."""

_OF_FILES: Final = _BY_ERRNO | dict.fromkeys(
    (
        errno.ENOTCONN,
        errno.ENXIO,
        errno.ENODEV,
        errno.EREMOTEIO,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
    ),
    TransientCode.STORAGE_UNAVAILABLE,
)
"""The same of a file system whose server or device is away, which answers as a network does."""

_REMEDY: Final[dict[Code, str]] = {
    TransientCode.HOST_UNREACHABLE: "see whether libvirtd (or sshd) runs there and the network leads to it",
    TransientCode.STORAGE_FULL: "free some space on it",
    TransientCode.STORAGE_UNAVAILABLE: "see `virsh pool-info` and the mount on the host",
    PermanentCode.MISCONFIGURED: "put the TLS files there, or name their directory in the URI: ?pkipath=",
    PermanentCode.ACCESS_DENIED: "correct the credentials, the host key or the permissions",
}

_HOST_KEY_WORDS: Final = ("host key", "authenticat", "access denied", "identity of host")
"""In libvirt's SSH transports a wrong key and a dead host differ by the text alone."""


_HANGS: Final = "has asynchronous jobs running"
"""What libvirt says of a pool while a call to its file system does not come back."""


def libvirt_code(error: libvirt.libvirtError) -> Code:
    """Say which code of the taxonomy an error of libvirt is."""
    code, domain, text = error.get_error_code(), error.get_error_domain(), (error.get_error_message() or "").lower()
    if code in {libvirt.VIR_ERR_SSH, libvirt.VIR_ERR_LIBSSH} and any(word in text for word in _HOST_KEY_WORDS):
        return PermanentCode.ACCESS_DENIED
    if code == libvirt.VIR_ERR_SYSTEM_ERROR:
        number = error.get_int1()
        if domain in _LINK_DOMAINS:
            if "certificate" in text or "private key" in text:
                return PermanentCode.MISCONFIGURED
            denied = number in {errno.EACCES, errno.EPERM}
            return PermanentCode.ACCESS_DENIED if denied else TransientCode.HOST_UNREACHABLE
        return _OF_FILES.get(number or 0, TransientCode.HYPERVISOR_ERROR)
    if code == libvirt.VIR_ERR_INTERNAL_ERROR and domain in _LINK_DOMAINS:
        return TransientCode.HOST_UNREACHABLE
    hangs = code == libvirt.VIR_ERR_INTERNAL_ERROR and domain == libvirt.VIR_FROM_STORAGE and _HANGS in text
    return TransientCode.STORAGE_UNAVAILABLE if hangs else _BY_CODE.get(code or 0, TransientCode.HYPERVISOR_ERROR)


def is_of_link(error: libvirt.libvirtError) -> bool:
    """Whether an error of libvirt is about a link that is no more, and not about what was asked over it."""
    return error.get_error_domain() in _LINK_DOMAINS and libvirt_code(error) is TransientCode.HOST_UNREACHABLE


def os_code(error: OSError) -> Code:
    """Say which code of the taxonomy an error of the operating system is; a network's is `HOST_UNREACHABLE`."""
    if isinstance(error, ConnectionError | TimeoutError):
        return TransientCode.HOST_UNREACHABLE
    return _BY_ERRNO.get(error.errno or 0, TransientCode.HOST_UNREACHABLE)


def _read(error: Exception) -> Fault | None:
    if isinstance(error, libvirt.libvirtError):
        return Fault(libvirt_code(error), error.get_error_message() or str(error))
    if isinstance(error, OSError):
        return Fault(os_code(error), os_reason(error))
    if isinstance(error, ParseError):
        return Fault(TransientCode.HYPERVISOR_ERROR, f"libvirt answered what is not XML ({error})")
    return ssh_fault(error)


translated: Final = Translator(_read, _REMEDY)
"""Turns every fault of libvirt, SSH or the operating system into a `FleetError` whose detail begins with its argument.
"""
