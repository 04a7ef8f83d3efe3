"""The folder with images on one datastore: the fleet's, or a VM's own directory.

A file is written as `<name>.part` over HTTPS, read back, and then renamed: it is whole when it is seen. The rename
itself says when there is one of that name already.
"""

from __future__ import annotations

import datetime as dt
import secrets
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from pyVmomi import vim, vmodl

from configdrive.errors import FleetError, PermanentCode, PermanentError, TransientCode, TransientError
from configdrive.model import IMAGE_FOLDER, ImageName
from workers.hypervisors.vmware.faults import status_error
from workers.hypervisors.vmware.paths import split
from workers.hypervisors.vmware.privileges import ON_DATASTORES
from workers.hypervisors.vmware.session import SEARCH_SECONDS, FileAt

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from configdrive.model import VmUuid
    from workers.hypervisors.vmware.http_pool import Reply
    from workers.hypervisors.vmware.sessions import Server
    from workers.hypervisors.vmware.topology import Datastore

PART: Final = ".part"
"""Behind the name of a file that is not whole yet."""

ABANDONED: Final = dt.timedelta(hours=1)
"""A file that is not whole is nobody's any more when nothing was written to it for so long."""

_NO_FOLDER: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.INTERNAL_SERVER_ERROR})
"""What servers answer to a file in a folder that is not there; others make the folder."""


class ImageFolder:
    """The images in one folder of a datastore. Every method has the same effect twice as once.

    Args:
        server: that has it.
        store: the datastore.
        directory: of a VM; `None`: the fleet's folder.
    """

    def __init__(self, server: Server, store: Datastore, directory: str | None = None) -> None:
        self._server = server
        self._session = server.session
        self._own = directory
        self.store = store

    def path(self, name: ImageName) -> str:
        """Return an image's datastore path."""
        return self._path(str(name))

    def names(self, vm: VmUuid | None = None) -> tuple[ImageName, ...]:
        """List the images, of one VM or of all; what a killed upload has left half-written is deleted.

        Of one VM at once, for nobody else writes to it now; of all when nothing was written for an hour.
        A folder that is not there has none.
        """
        flags = vim.host.DatastoreBrowser.FileInfo.Details(
            fileType=False, fileSize=False, modification=vm is None, fileOwner=False
        )
        spec = vim.host.DatastoreBrowser.SearchSpec(matchPattern=["*" if vm is None else f"*.{vm}.*"], details=flags)
        found = []
        for file in self._search(spec):
            name = ImageName.parse(file.path)
            half = ImageName.parse(file.path.removesuffix(PART)) if file.path.endswith(PART) else None
            if name is not None and vm in {None, name.vm_uuid}:
                found.append(name)
            elif half is not None and (half.vm_uuid == vm if vm is not None else _is_old(file.modification)):
                self._delete(file.path)
        return tuple(found)

    def everywhere(self) -> Iterator[tuple[str, ImageName]]:
        """Give every image in any directory of the datastore, with that directory. It takes a while."""
        spec = vim.host.DatastoreBrowser.SearchSpec(matchPattern=["*.iso"])
        search = self.store.browser.SearchDatastoreSubFolders_Task
        task = search(datastorePath=f"[{self.store.name}]", searchSpec=spec)
        for there in self._session.wait(task, seconds=SEARCH_SECONDS):
            directory = split(there.folderPath)[1].strip("/")
            names = (ImageName.parse(file.path) for file in there.file)
            yield from ((directory, name) for name in names if name is not None)

    def found(self, names: Collection[ImageName]) -> tuple[ImageName, ...]:
        """Return which of these images are there; asks for each of them, and for nothing else."""
        return tuple(name for name in names if self._look(name))

    def has(self, name: ImageName) -> bool:
        """Say whether the file is there now, or was a moment ago."""
        return self._server.files.get(self._key(name)) or self._look(name)

    def read(self, name: ImageName) -> bytes | None:
        """Return the file's bytes; `None` when it is not there."""
        reply = self._ask("GET", str(name))
        if reply is None:
            self._require_name()
        return None if reply is None else reply.content

    def put(self, name: ImageName, content: bytes, require_unused: Callable[[], object]) -> None:
        """Make the folder hold exactly these bytes under this name; the same bytes are left alone.

        Args:
            name: the image's.
            content: its bytes.
            require_unused: raises when other bytes of that name must not be replaced.

        Raises:
            TransientError: `UPLOAD_CORRUPT` when what is read back is not what was written, `STORAGE_FULL`.
        """
        part = f"{name}{PART}"
        self._write(part, content)
        try:
            self._bring(part, name, content, require_unused)
        except FleetError:  # the server answers, so that it can be taken away now
            self._delete(part)
            raise
        self._server.files.keep(self._key(name), value=True)

    def remove(self, name: ImageName) -> None:
        """Delete the file, or what a killed upload has left of it; gone already is success."""
        self._server.files.forget(self._key(name))
        if not self._delete(str(name)):
            self._delete(f"{name}{PART}")

    def tidy(self) -> None:
        """Delete a VM's directory that nothing is in: its VM has left it. The fleet's folder stays.

        vSphere moves and deletes the files that it knows as the VM's, and leaves the directory for the others. It
        deletes a directory with all that is in it. So it gets a name that nobody knows first, and is looked at again.
        """
        if not self._own or not self._is_empty(self._own):
            return
        with suppress(vim.fault.FileFault):  # gone already, in use, or something has come into it
            if not self.store.holds_files:
                self._server.namespaces.remove(self.store, self._own)
                return
            aside = f"{self._own}.configdrive-{secrets.token_hex(4)}"
            self._move(self._at(self._own), self._at(aside), force=False)
            if self._is_empty(aside):
                self._delete_at(self._at(aside))
            else:
                self._move(self._at(aside), self._at(self._own), force=False)

    def _is_empty(self, directory: str) -> bool:
        spec = vim.host.DatastoreBrowser.SearchSpec(matchPattern=["*"])
        return not self._search(spec, directory)

    def user(self, name: ImageName) -> str | None:
        """Return the name of any VM that has the file in a drive."""
        stores = self._server.topology.get().known(self.store.identity)
        ways = (self._own,) if self._own is not None else dict.fromkeys((IMAGE_FOLDER, self._directory))
        return self._server.usage.of(stores, [f"{directory}/{name}" for directory in ways])

    @property
    def _directory(self) -> str:
        """The path on the datastore; of the fleet's folder, where it is not there yet, by the name for display."""
        if self._own is not None:
            return self._own
        if self.store.holds_files:
            return IMAGE_FOLDER
        return self._server.namespaces.find(self.store, IMAGE_FOLDER) or IMAGE_FOLDER

    def _search(
        self, spec: vim.host.DatastoreBrowser.SearchSpec, directory: str | None = None
    ) -> Sequence[vim.host.DatastoreBrowser.FileInfo]:
        """List what is in the folder; one that is not there has nothing."""
        path = self._at(self._directory if directory is None else directory).rstrip()
        try:
            result = self._session.wait(self.store.browser.SearchDatastore_Task(datastorePath=path, searchSpec=spec))
        except vim.fault.FileNotFound:
            return ()
        found: Sequence[vim.host.DatastoreBrowser.FileInfo] = result.file
        return found

    def _inside(self, file: str) -> str:
        return "/".join(part for part in (self._directory, file) if part)

    def _path(self, file: str) -> str:
        return self._at(self._inside(file))

    def _at(self, path: str) -> str:
        return f"[{self.store.name}] {path}"

    def _require_name(self) -> None:
        """Return when the datastore is still called so: over HTTPS one that is not has no files.

        Raises:
            vim.fault.InvalidDatastore: it is called otherwise now.
        """
        now = self._session.retrieve({vim.Datastore: ["name"]}, [self.store.ref])
        if any(one.get("name") != self.store.name for one in now):
            raise vim.fault.InvalidDatastore(msg=f"datastore {self.store.name!r} has another name now")

    def _request(self, method: str, file: str, body: bytes | None = None) -> Reply:
        topology = self._server.topology.get()
        esxi = topology.address_of(self.store) if topology.is_vcenter else None
        at = FileAt(self._inside(file), self.store.name, self.store.dc_path, esxi)
        return self._session.file(method, at, body)

    def _ask(self, method: str, file: str) -> Reply | None:
        reply = self._request(method, file)
        if reply.status == HTTPStatus.NOT_FOUND:
            return None
        if reply.status != HTTPStatus.OK:
            raise self._error(reply.status, f"file {file}")
        return reply

    def _write(self, file: str, content: bytes) -> None:
        reply = self._request("PUT", file, content)
        if reply.status in _NO_FOLDER:
            self._make()
            reply = self._request("PUT", file, content)
        if reply.status not in {HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT}:
            raise self._error(reply.status, f"upload of {file}")

    def _error(self, status: int, what: str) -> FleetError:
        """Make the error for an answer about a file; that says nothing of privileges, which others are asked for."""
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            missing = self._session.lacking({self.store.ref: ON_DATASTORES})
            if missing:
                return self._session.refusal(missing)
        return status_error(status, f"datastore {self.store.name}, {what}")

    def _make(self) -> None:
        """Make the fleet's folder, unless somebody else has done it meanwhile.

        Raises:
            PermanentError: `STORAGE_NOT_FOUND` when the datastore takes none.
            TransientError: `VM_BUSY` when it is a VM's directory that is missing: nobody but vSphere makes one.
        """
        if self._own is not None:
            detail = f"the VM's directory {self._path('')} is not there: the VM has just been moved"
            raise TransientError(TransientCode.VM_BUSY, detail)
        if not self.store.holds_files:
            self._make_namespace()
            return
        with suppress(vim.fault.FileAlreadyExists):
            self._session.content.fileManager.MakeDirectory(
                name=f"[{self.store.name}] {IMAGE_FOLDER}",
                datacenter=self.store.datacenter,
                createParentDirectories=False,
            )

    def _make_namespace(self) -> None:
        try:
            self._server.namespaces.make(self.store, IMAGE_FOLDER)
        except (vim.fault.CannotCreateFile, vmodl.fault.NotSupported) as fault:
            detail = f"datastore {self.store.name!r} takes no folder {IMAGE_FOLDER!r}: {type(fault).__name__}"
            remedy = "let the inventory's placement be vm-directory, or name a fallback_datastore"
            raise PermanentError(PermanentCode.STORAGE_NOT_FOUND, detail, remedy) from fault

    def _bring(self, part: str, name: ImageName, content: bytes, require_unused: Callable[[], object]) -> None:
        """Give a file that was written its name, if it is whole."""
        written = self._ask("GET", part)
        if written is None or written.content != content:
            detail = f"file {name} reads back otherwise than written"
            raise TransientError(TransientCode.UPLOAD_CORRUPT, detail)
        try:
            self._rename(part, name, force=False)
        except vim.fault.FileAlreadyExists:
            there = self.read(name)
            if there is None:
                raise
            if there == content:
                self._delete(part)
            else:
                require_unused()
                self._rename(part, name, force=True)

    def _look(self, name: ImageName) -> bool:
        there = self._ask("HEAD", str(name)) is not None
        if there:
            self._server.files.keep(self._key(name), value=True)
        return there

    def _key(self, name: ImageName) -> tuple[str, str]:
        return self.store.identity, f"{self._own or ''}/{name}"

    def _rename(self, file: str, name: ImageName, *, force: bool) -> None:
        self._move(self._path(file), self.path(name), force=force)

    def _move(self, path: str, target: str, *, force: bool) -> None:
        task = self._session.content.fileManager.MoveDatastoreFile_Task(
            sourceName=path,
            sourceDatacenter=self.store.datacenter,
            destinationName=target,
            destinationDatacenter=self.store.datacenter,
            force=force,
        )
        self._session.wait(task)

    def _delete(self, file: str) -> bool:
        """Delete a file; false when there was none."""
        return self._delete_at(self._path(file))

    def _delete_at(self, path: str) -> bool:
        manager = self._session.content.fileManager
        try:
            self._session.wait(manager.DeleteDatastoreFile_Task(name=path, datacenter=self.store.datacenter))
        except vim.fault.FileNotFound:
            return False
        return True


def _is_old(modified: dt.datetime | None) -> bool:
    return modified is not None and dt.datetime.now(dt.UTC) - modified > ABANDONED
