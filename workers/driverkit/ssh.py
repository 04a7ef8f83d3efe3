"""What SSH and SFTP say, in the words of the taxonomy: for every driver that reaches a host's files that way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import asyncssh

from configdrive.errors import PermanentCode, TransientCode

if TYPE_CHECKING:
    from configdrive.errors import Code

_BY_SSH_CLASS: Final[tuple[tuple[type[Exception], Code], ...]] = (
    (asyncssh.SFTPNoSpaceOnFilesystem, TransientCode.STORAGE_FULL),
    (asyncssh.SFTPQuotaExceeded, TransientCode.STORAGE_FULL),
    (asyncssh.SFTPPermissionDenied, PermanentCode.ACCESS_DENIED),
    (asyncssh.SFTPWriteProtect, PermanentCode.ACCESS_DENIED),
    (asyncssh.SFTPNoConnection, TransientCode.HOST_UNREACHABLE),
    (asyncssh.SFTPConnectionLost, TransientCode.HOST_UNREACHABLE),
    (asyncssh.SFTPOpUnsupported, PermanentCode.NOT_SUPPORTED),
    (asyncssh.SFTPError, TransientCode.STORAGE_UNAVAILABLE),
    (asyncssh.HostKeyNotVerifiable, PermanentCode.ACCESS_DENIED),
    (asyncssh.PermissionDenied, PermanentCode.ACCESS_DENIED),
    (asyncssh.KeyExchangeFailed, PermanentCode.NOT_SUPPORTED),
    (asyncssh.ChannelOpenError, PermanentCode.NOT_SUPPORTED),
    (asyncssh.Error, TransientCode.HOST_UNREACHABLE),
)
"""asyncssh's classes, the narrower before the wider."""


def ssh_code(error: asyncssh.Error) -> Code:
    """Say which code of the taxonomy an error of asyncssh is."""
    return next(code for kind, code in _BY_SSH_CLASS if isinstance(error, kind))
