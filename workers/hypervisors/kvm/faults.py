"""What libvirt, SSH and the operating system say, in the words of the taxonomy. Nothing else may leave the driver."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from xml.etree.ElementTree import ParseError

import asyncssh
import libvirt

from configdrive.errors import FleetError, PermanentCode, PermanentError, TransientCode, TransientError, error_of
from workers.driverkit.ssh import ssh_code

if TYPE_CHECKING:
    from collections.abc import Iterator

    from configdrive.errors import Code

_LINK_DOMAINS: Final = frozenset({libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE})
"""Parts of libvirt that are about the connection itself, not about what was asked over it."""

_BY_CODE: Final[dict[int, Code]] = {
    # What was there a moment ago. A VM or pool that is not there at first is told by whoever looks for it.
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

_REMEDY: Final[dict[Code, str]] = {
    TransientCode.HOST_UNREACHABLE: "see whether libvirtd (or sshd) runs there and the network leads to it",
    TransientCode.STORAGE_FULL: "free some space on it",
    TransientCode.STORAGE_UNAVAILABLE: "see `virsh pool-info` and the mount on the host",
    PermanentCode.MISCONFIGURED: "put the TLS files there, or name their directory in the URI: ?pkipath=",
    PermanentCode.ACCESS_DENIED: "correct the credentials, the host key or the permissions",
}

_HOST_KEY_WORDS: Final = ("host key", "authenticat", "access denied", "identity of host")
"""libvirt's SSH transports tell a wrong key and a dead host by the text alone."""


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
        return _BY_ERRNO.get(number or 0, TransientCode.HYPERVISOR_ERROR)
    if code == libvirt.VIR_ERR_INTERNAL_ERROR and domain in _LINK_DOMAINS:
        return TransientCode.HOST_UNREACHABLE
    return _BY_CODE.get(code or 0, TransientCode.HYPERVISOR_ERROR)


def os_code(error: OSError) -> Code:
    """Say which code of the taxonomy an error of the operating system is; a network's is `HOST_UNREACHABLE`."""
    if isinstance(error, ConnectionError | TimeoutError):
        return TransientCode.HOST_UNREACHABLE
    return _BY_ERRNO.get(error.errno or 0, TransientCode.HOST_UNREACHABLE)


def fleet_error(code: Code, detail: str, remedy: str = "") -> FleetError:
    """Make the kind of error that belongs to the code, with the remedy that is usual here unless another is given."""
    return error_of(code, detail, remedy or _REMEDY.get(code, ""))


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn every fault of an SDK or the operating system into a `FleetError` whose detail begins with `what`.

    An interruption from outside (a soft time limit) is the caller's own, and passes.
    """
    try:
        yield
    except FleetError:
        raise
    except libvirt.libvirtError as error:
        text = error.get_error_message() or str(error)
        raise fleet_error(libvirt_code(error), f"{what}: {text}") from error
    except asyncssh.Error as error:
        raise fleet_error(ssh_code(error), f"{what}: {error.reason or type(error).__name__}") from error
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        remedy = "name an unencrypted OpenSSH private key in 'key_file'"
        raise PermanentError(PermanentCode.MISCONFIGURED, f"{what}: the ssh key cannot be read", remedy) from error
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise fleet_error(os_code(error), f"{what}: {reason}") from error
    except ParseError as error:
        detail = f"{what}: libvirt answered what is not XML ({error})"
        raise TransientError(TransientCode.HYPERVISOR_ERROR, detail) from error
