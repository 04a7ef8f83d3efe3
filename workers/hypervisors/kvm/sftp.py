"""Images as files over SFTP: for hosts whose pools hold no files, and for pools that many hosts share.

libvirt need not be told of a file: drives name an image by its path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncssh

from configdrive.model import ImageName
from workers.driverkit.ssh import MOST, clear_parts, list_directory, read_file, unlink, write_file
from workers.hypervisors.kvm.image_folder import PASSABLE

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from configdrive.model import VmUuid
    from workers.driverkit.ssh import Sftp


class SftpFolder:
    """The images in a directory of a host.

    Args:
        sftp: to the host.
        directory: the images'.
        pool: the libvirt pool of that directory, if there is one.
        with_parents: make the directories above as well; not so below a pool, whose own must be there.
    """

    def __init__(self, sftp: Sftp, directory: PurePosixPath, pool: str, *, with_parents: bool) -> None:
        self._sftp = sftp
        self.directory = directory
        self.pool = pool
        self._with_parents = with_parents

    def names(self, vm: VmUuid | None = None) -> tuple[ImageName, ...]:
        """List the images, of one VM or of all; what a killed upload has left is deleted."""

        async def work(client: asyncssh.SFTPClient) -> tuple[ImageName, ...]:
            files = await list_directory(client, self.directory)
            await clear_parts(client, self.directory, files, ImageName.parse, vm)
            names = (ImageName.parse(file) for file in files)
            return tuple(name for name in names if name is not None and vm in {None, name.vm_uuid})

        return self._sftp.run(work)

    def has(self, name: ImageName) -> bool:
        """Say whether the file is there now."""
        return self._sftp.run(lambda client: client.isfile(str(self.directory / str(name))))

    def read(self, name: ImageName) -> bytes | None:
        """Return the file's bytes; `None` when it is not there."""
        return self._sftp.run(lambda client: read_file(client, self.directory / str(name)), transfer=MOST)

    def put(self, name: ImageName, content: bytes) -> None:
        """Write a file that is not there yet, and read it back before it has its name."""

        async def work(client: asyncssh.SFTPClient) -> None:
            await self._make_directory(client)
            await write_file(client, self.directory / str(name), content)

        self._sftp.run(work, transfer=2 * len(content))

    def remove(self, name: ImageName) -> None:
        """Delete the file; gone already is success."""
        self._sftp.run(lambda client: unlink(client, self.directory / str(name)))

    async def _make_directory(self, client: asyncssh.SFTPClient) -> None:
        path, mode = str(self.directory), asyncssh.SFTPAttrs(permissions=PASSABLE)
        if await client.isdir(path):
            return
        if self._with_parents:
            await client.makedirs(str(self.directory.parent), exist_ok=True)
        try:
            await client.mkdir(path, mode)
        except asyncssh.SFTPFailure:  # another worker was faster
            if not await client.isdir(path):
                raise
