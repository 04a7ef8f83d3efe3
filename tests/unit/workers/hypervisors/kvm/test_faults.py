import errno

import asyncssh
import pytest

from configdrive.errors import Code, FleetError, PermanentCode, TransientCode

pytest.importorskip("libvirt")

import libvirt

from workers.driverkit.ssh import ssh_code
from workers.hypervisors.kvm.faults import libvirt_code, os_code, translated


def failed(code: int | None, domain: int = 0, text: str = "", number: int = -1) -> libvirt.libvirtError:
    error = libvirt.libvirtError("virSomething() failed")
    error.err = None if code is None else (code, domain, text, 2, "", "", "", number, -1)
    return error


QEMU, STORAGE, RPC = libvirt.VIR_FROM_QEMU, libvirt.VIR_FROM_STORAGE, libvirt.VIR_FROM_RPC


@pytest.mark.parametrize(
    ("error", "code"),
    [
        # As libvirt 9.0 said them.
        (failed(38, RPC, "unable to connect to server: Connection refused", errno.ECONNREFUSED), "host_unreachable"),
        (failed(38, RPC, "Failed to connect socket to '/run/libvirt/libvirt-sock'", errno.ENOENT), "host_unreachable"),
        (failed(38, RPC, "Failed to connect socket to '/run/x'", errno.EACCES), "access_denied"),
        (failed(38, RPC, "Cannot read CA certificate '/etc/pki/CA/cacert.pem'", errno.ENOENT), "misconfigured"),
        (failed(38, RPC, "End of file while reading data: Input/output error", errno.EIO), "host_unreachable"),
        (failed(1, RPC, "internal error: client socket is closed"), "host_unreachable"),
        (failed(1, RPC, "internal error: connection closed due to keepalive timeout"), "host_unreachable"),
        (failed(85, 50, "SSH transport error: Can't verify the session host key"), "access_denied"),
        (failed(98, 66, "libssh transport error: failed to authenticate: Access denied"), "access_denied"),
        (failed(85, 50, "SSH transport error: unable to connect"), "host_unreachable"),
        (failed(45, 50, "authentication failed: authentication with private key has failed"), "access_denied"),
        (failed(45, RPC, "authentication failed: Failed to verify peer's certificate"), "access_denied"),
        (failed(38, STORAGE, "cannot fill file: No space left on device", errno.ENOSPC), "storage_full"),
        (failed(38, STORAGE, "cannot create path: Read-only file system", errno.EROFS), "access_denied"),
        (failed(38, QEMU, "Cannot access storage file: No such file", errno.ENOENT), "storage_unavailable"),
        (
            failed(38, STORAGE, "cannot open directory: Transport endpoint is not connected", errno.ENOTCONN),
            "storage_unavailable",
        ),
        (failed(1, STORAGE, "internal error: pool 'x' has asynchronous jobs running."), "storage_unavailable"),
        (failed(1, QEMU, "unable to execute QEMU command"), "hypervisor_error"),
        (failed(68, QEMU, "cannot acquire state change lock"), "vm_busy"),
        (failed(55, QEMU, "domain is not running"), "vm_busy"),
        (failed(42, QEMU, "Domain not found"), "vm_busy"),
        (failed(49, STORAGE, "Storage pool not found"), "storage_unavailable"),
        (failed(84, QEMU, "disk device type 'cdrom' cannot be attached"), "not_supported"),
        (failed(3, 0, "this function is not supported"), "not_supported"),
        (failed(9999, 9999, "something new"), "hypervisor_error"),
        (failed(None), "hypervisor_error"),
    ],
)
def test_libvirt_s_errors(error: libvirt.libvirtError, code: str) -> None:
    assert libvirt_code(error) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (asyncssh.SFTPNoSpaceOnFilesystem("full"), TransientCode.STORAGE_FULL),
        (asyncssh.SFTPQuotaExceeded("full"), TransientCode.STORAGE_FULL),
        (asyncssh.SFTPPermissionDenied("no"), PermanentCode.ACCESS_DENIED),
        (asyncssh.SFTPNoSuchFile("gone"), TransientCode.STORAGE_UNAVAILABLE),
        (asyncssh.SFTPFailure("Failure"), TransientCode.STORAGE_UNAVAILABLE),
        (asyncssh.SFTPConnectionLost("lost"), TransientCode.HOST_UNREACHABLE),
        (asyncssh.HostKeyNotVerifiable("who?"), PermanentCode.ACCESS_DENIED),
        (asyncssh.PermissionDenied("no"), PermanentCode.ACCESS_DENIED),
        (asyncssh.ConnectionLost("lost"), TransientCode.HOST_UNREACHABLE),
        (asyncssh.ChannelOpenError(1, "no sftp"), PermanentCode.NOT_SUPPORTED),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), TransientCode.HOST_UNREACHABLE),
        (TimeoutError(), TransientCode.HOST_UNREACHABLE),
        (OSError(errno.EHOSTUNREACH, "no route"), TransientCode.HOST_UNREACHABLE),
        (OSError(errno.ENOSPC, "full"), TransientCode.STORAGE_FULL),
        (PermissionError(errno.EACCES, "no"), PermanentCode.ACCESS_DENIED),
    ],
)
def test_the_errors_of_ssh_and_of_the_operating_system(error: OSError | asyncssh.Error, code: Code) -> None:
    assert (ssh_code(error) if isinstance(error, asyncssh.Error) else os_code(error)) is code


def test_a_fault_s_cause_is_kept_and_its_text_is_one_sentence() -> None:
    cause = failed(38, STORAGE, "cannot fill file: No space left on device", errno.ENOSPC)
    with pytest.raises(FleetError) as caught, translated("host h1"):
        raise cause
    assert caught.value.__cause__ is cause
    assert caught.value.detail == "host h1: cannot fill file: No space left on device"
    assert caught.value.remedy


def test_what_is_no_fault_of_the_host_s_passes() -> None:
    with pytest.raises(KeyboardInterrupt), translated("host h1"):
        raise KeyboardInterrupt
    error = FleetError(PermanentCode.NO_FREE_SLOT, "full")
    with pytest.raises(FleetError) as caught, translated("host h1"):
        raise error
    assert caught.value is error
