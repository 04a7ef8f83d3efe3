"""One session with a vCenter or ESXi host: calls, properties, tasks and files, over verified connections."""

from __future__ import annotations

import http.client
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from pyVmomi import vim, vmodl

from configdrive.errors import PermanentCode, PermanentError, TransientCode, TransientError
from workers.hypervisors.vmware import versions
from workers.hypervisors.vmware.http_pool import Reply, Stub, ask
from workers.hypervisors.vmware.inventory import Transfer
from workers.hypervisors.vmware.privileges import missing_of
from workers.hypervisors.vmware.tls import PinnedContext

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from workers.driverkit.connections import Tally
    from workers.hypervisors.vmware.inventory import EndpointTable
    from workers.hypervisors.vmware.privileges import Missing

TASK_SECONDS: Final = 60.0
"""Limit on a task: reconfiguring a VM takes a second or two, unless vCenter is busy."""

SEARCH_SECONDS: Final = 3600.0
"""Limit on a search of a whole datastore, which may hold thousands of directories. Only a person asks for it."""

IDLE_SECONDS: Final = 30
"""A connection that rested longer is not used again: vCenter closes them too."""

_COOKIE: Final = "vmware_soap_session"
_TICKET: Final = "vmware_cgi_ticket"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0


def key_of(reference: Any) -> str:  # noqa: ANN401  # pyvmomi's objects carry no useful types
    """Return the managed object id of an object; nothing of none."""
    return "" if reference is None else str(reference._moId)  # noqa: SLF001  # pyvmomi has no other name for it


@dataclass(frozen=True, slots=True)
class Found:
    """One object of the server with some of its properties; one that it does not have is not there.

    Args:
        ref: pyvmomi's object.
        properties: by their paths.
        refused: why some are not told, if the user may not read them.
    """

    ref: Any
    properties: Mapping[str, Any]
    refused: vim.fault.NoPermission | None = None

    @property
    def key(self) -> str:
        """Its managed object id."""
        return key_of(self.ref)

    def get(self, path: str) -> Any:  # noqa: ANN401  # whatever the property is
        """Return a property, `None` when it is unset."""
        return self.properties.get(path)


@dataclass(frozen=True, slots=True)
class FileAt:
    """A file on a datastore, as HTTPS knows it.

    Args:
        path: on the datastore.
        datastore: its name.
        datacenter: path of its datacenter on the vCenter.
        esxi: address of a host that has it mounted; `None` where there is no vCenter before it.
    """

    path: str
    datastore: str
    datacenter: str
    esxi: str | None = None

    def target(self, *, with_datacenter: bool) -> str:
        """Return what is asked for."""
        datacenter = f"dcPath={quote(self.datacenter, safe='')}&" if with_datacenter else ""
        return f"/folder/{quote(self.path)}?{datacenter}dsName={quote(self.datastore, safe='')}"


class Session:
    """A session that logs in when it is first used, and again when the server has forgotten it.

    Args:
        table: the endpoint's in the inventory.
        context: whom to trust.
        timeout: seconds to wait for an answer.
        tally: of the sessions with this endpoint.
    """

    def __init__(self, table: EndpointTable, context: ssl.SSLContext, timeout: float, tally: Tally) -> None:
        self._table = table
        self._tally = tally
        self._timeout = timeout
        self._lock = threading.RLock()
        self._content: Any = None
        self._key: str | None = None
        self._stub: Any = Stub(
            table.server,
            table.port,
            version=versions.OLDEST,
            sslContext=context,
            poolSize=table.connections,
            connectionPoolTimeout=IDLE_SECONDS,
            httpConnectionTimeout=timeout,
        )
        self._stub.log_in = self._log_in

    @property
    def content(self) -> Any:  # noqa: ANN401
        """The service's root objects."""
        if self._content is None:
            with self._lock:
                if self._content is None:
                    self._agree()
                    content = vim.ServiceInstance("ServiceInstance", self._stub).RetrieveContent()
                    password = self._table.password.get_secret_value()
                    self._key = content.sessionManager.Login(self._table.username, password).key
                    self._content = content
                    self._stub.logins += 1
                    self._tally.opened()
        return self._content

    @property
    def version(self) -> str:
        """The version of the API that is spoken, as the server calls it."""
        return str(self._stub.versionId).strip('"').rpartition("/")[2]

    def close(self) -> None:
        """Log out, and close the connections."""
        try:
            if self._content is not None:
                self._tally.closed()
                self._content.sessionManager.Logout()
        finally:
            self._content = None
            self._stub.DropConnections()

    def reference(self, kind: Any, key: str) -> Any:  # noqa: ANN401
        """Return the object of this type and managed object id; it is not looked up."""
        return kind(key, self._stub)

    # --- properties --------------------------------------------------------------------------------------------------

    def retrieve(
        self,
        wanted: Mapping[Any, Sequence[str]],
        roots: Sequence[Any],
        follow: Sequence[tuple[Any, str]] = (),
        dispensable: Collection[Any] = (),
    ) -> list[Found]:
        """Read properties of several objects in one call.

        Args:
            wanted: type -> the paths of its properties.
            roots: where to begin.
            follow: (type, property with references) along which more objects are found.
            dispensable: types of which one may be there that the user may not read: `Found.refused`.

        Raises:
            vim.fault.NoPermission: the user may not read a property.
            TransientError: `HYPERVISOR_ERROR` when the server says nothing of one of the roots that were asked for.
        """
        query = vmodl.query.PropertyCollector
        steps = [query.TraversalSpec(type=kind, path=path, skip=False) for kind, path in follow]
        objects = [query.ObjectSpec(obj=root, skip=type(root) not in wanted, selectSet=steps) for root in roots]
        properties = [query.PropertySpec(type=kind, pathSet=list(paths)) for kind, paths in wanted.items()]
        collector = self.content.propertyCollector
        page = collector.RetrievePropertiesEx(
            specSet=[query.FilterSpec(objectSet=objects, propSet=properties)], options=query.RetrieveOptions()
        )
        found: dict[str, Found] = {}
        while page is not None:
            for one in page.objects:
                values = {prop.name: prop.val for prop in one.propSet}
                refused = _refused(one.missingSet)
                if refused is not None and type(one.obj) not in dispensable:
                    raise refused
                found.setdefault(key_of(one.obj), Found(one.obj, values, refused))
            page = collector.ContinueRetrievePropertiesEx(token=page.token) if page.token else None
        silent = [root for root in roots if type(root) in wanted and key_of(root) not in found]
        if silent:
            detail = f"{self._table.server} says nothing of {key_of(silent[0])}, and not that it is gone"
            raise TransientError(TransientCode.HYPERVISOR_ERROR, detail, "see the vCenter's own log")
        return list(found.values())

    def all_of(self, wanted: Mapping[Any, Sequence[str]], dispensable: Collection[Any] = ()) -> list[Found]:
        """Read properties of all objects of some types that the server has; otherwise as `retrieve`."""
        content = self.content
        view = content.viewManager.CreateContainerView(content.rootFolder, list(wanted), recursive=True)
        try:
            return self.retrieve(wanted, [view], [(vim.view.ContainerView, "view")], dispensable)
        finally:
            view.Destroy()

    # --- privileges --------------------------------------------------------------------------------------------------

    def lacking(self, wanted: Mapping[Any, Collection[str]]) -> Missing:
        """Return which of these privileges the session does not have: object -> ids.

        Raises:
            vim.fault.NoPermission: neither may it ask.
        """
        manager, found = self.content.authorizationManager, []
        for ids in dict.fromkeys(tuple(sorted(ids)) for ids in wanted.values()):
            entities = [ref for ref, needed in wanted.items() if tuple(sorted(needed)) == ids]
            for one in manager.HasPrivilegeOnEntities(entity=entities, sessionId=self._key, privId=list(ids)):
                gone = tuple(str(has.privId) for has in one.privAvailability if not has.isGranted)
                found += [(one.entity, gone)] if gone else []
        return found

    def lacking_by_role(self, wanted: Mapping[Any, Collection[str]]) -> Missing:
        """As `lacking`, from each object's role, which whoever sees the object may read."""
        manager = self.content.authorizationManager
        [roles] = self.retrieve({vim.AuthorizationManager: ["roleList"]}, [manager])
        has = {role.roleId: frozenset(map(str, role.privilege)) for role in roles.get("roleList")}
        found = []
        for one in self.retrieve({type(ref): ["effectiveRole"] for ref in wanted}, list(wanted)):
            granted = frozenset[str]().union(*(has.get(role, ()) for role in one.get("effectiveRole") or ()))
            gone = tuple(sorted(set(wanted[one.ref]) - granted))
            found += [(one.ref, gone)] if gone else []
        return found

    @contextmanager
    def naming_refusals(self) -> Iterator[None]:
        """Say which privilege is missing on which object, by its name.

        Raises:
            PermanentError: `ACCESS_DENIED`, in the place of `vim.fault.NoPermission`.
        """
        try:
            yield
        except vim.fault.NotAuthenticated:
            raise  # a kind of the next one; nothing was said of privileges
        except vim.fault.NoPermission as fault:
            raise self.refusal(missing_of(fault)) from fault

    def refusal(self, missing: Missing) -> PermanentError:
        """Make the error for privileges that are missing."""
        detail = "; ".join(f"privilege {', '.join(ids)} is missing on {self.named(ref)}" for ref, ids in missing)
        remedy = f"give it to the role of {self._table.username}, on that object or above it; `doctor` lists all"
        return PermanentError(PermanentCode.ACCESS_DENIED, detail, remedy)

    def named(self, ref: Any) -> str:  # noqa: ANN401
        """Name an object for people, as far as its name may be read: `Datastore 'vsan-01'`."""
        if ref is None:
            return "an object that is not named"
        kind, name = type(ref).__name__.rpartition(".")[2], None
        with suppress(vmodl.MethodFault, TransientError, OSError, http.client.HTTPException):
            name = next((one.get("name") for one in self.retrieve({type(ref): ["name"]}, [ref])), None)
        return f"{kind} {key_of(ref)!r}" if name is None else f"{kind} {name!r} ({key_of(ref)})"

    # --- tasks -------------------------------------------------------------------------------------------------------

    def wait(
        self,
        task: Any,  # noqa: ANN401
        beside: Any = None,  # noqa: ANN401
        notice: Callable[[Found], None] | None = None,
        *,
        seconds: float = TASK_SECONDS,
    ) -> Any:  # noqa: ANN401
        """Wait for the end of a task and return its result.

        Its properties are read one by one: pyvmomi cannot read the `info` of a task on a FileManager.

        Args:
            task: from the call that began it.
            beside: a VM on which a question may come up meanwhile.
            notice: is called with that VM as long as the task runs.
            seconds: how long, or as long as a call may take where that is more.

        Raises:
            TransientError: `TASK_TIMEOUT`.
            vmodl.MethodFault: why the task failed.
        """
        limit = max(self._timeout, seconds)
        deadline, pause = time.monotonic() + limit, _FIRST_PAUSE
        wanted: dict[Any, list[str]] = {vim.Task: ["info.state", "info.error", "info.result"]}
        if beside is not None:
            wanted[vim.VirtualMachine] = ["runtime.question"]
        while True:
            seen = {type(one.ref): one for one in self.retrieve(wanted, [task, *([] if beside is None else [beside])])}
            state = seen[vim.Task]
            if state.get("info.state") == "success":
                return state.get("info.result")
            if state.get("info.state") == "error":
                raise state.get("info.error")
            if notice is not None and vim.VirtualMachine in seen:
                notice(seen[vim.VirtualMachine])
            if time.monotonic() > deadline:
                detail = f"a task of {self._table.server} has not ended within {limit:g} s"
                raise TransientError(TransientCode.TASK_TIMEOUT, detail, "see the recent tasks in the vSphere client")
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    # --- files -------------------------------------------------------------------------------------------------------

    def file(self, method: str, at: FileAt, body: bytes | None = None) -> Reply:
        """Ask for a file of a datastore: `GET`, `HEAD` or `PUT` of `/folder/<path>`.

        A session that the server has forgotten is opened again.
        """
        _ = self.content
        if self._table.transfer is Transfer.TICKET:
            return self._by_ticket(method, at, body)
        target = at.target(with_datacenter=True)
        before = self._stub.logins
        reply = self._exchange(method, target, body)
        if reply.status == HTTPStatus.UNAUTHORIZED:
            self._log_in(before)
            reply = self._exchange(method, target, body)
        return reply

    def _agree(self) -> None:
        """Speak the newest version of the API that both know; the oldest with a server that lists none."""
        reply = self._exchange("GET", versions.PATH, None)
        if reply.status != HTTPStatus.OK:
            return
        newest = versions.newest(reply.content.decode("utf-8", "replace"))
        if newest is None:
            detail = f"{self._table.server} speaks no version of the API that is known here"
            remedy = "vSphere 6.5 is the oldest that is supported; for a newer one than this release, upgrade pyvmomi"
            raise PermanentError(PermanentCode.NOT_SUPPORTED, detail, remedy)
        self._stub.speak(newest)

    def _exchange(self, method: str, target: str, body: bytes | None) -> Reply:
        held = SimpleCookie(self._stub.cookie).get(_COOKIE)
        connection = self._stub.GetConnection()
        try:
            reply = ask(connection, method, target, body, f'{_COOKIE}="{held.value if held else ""}"')
        except BaseException:
            connection.close()
            raise
        self._stub.ReturnConnection(connection)
        return reply

    def _by_ticket(self, method: str, at: FileAt, body: bytes | None) -> Reply:
        """Use a ticket at the ESXi host that it is made for, whose fingerprint comes with it over this session.

        A host has one datacenter of its own only, so that the vCenter's must not be named there.
        """
        table = self._table
        server, target = at.esxi or table.server, at.target(with_datacenter=at.esxi is None)
        port = "" if at.esxi is not None else f":{table.port}"
        spec = vim.SessionManager.HttpServiceRequestSpec(
            method=f"http{method.capitalize()}", url=f"https://{server}{port}{target}"
        )
        ticket = self.content.sessionManager.AcquireGenericServiceTicket(spec)
        host, _, said = (ticket.hostName or f"{server}{port}").partition(":")
        context = self._stub.schemeArgs["context"]
        if ticket.sslThumbprint:
            context = PinnedContext.of(ticket.sslThumbprint)
        connection = http.client.HTTPSConnection(host, int(said or 443), context=context, timeout=self._timeout)
        try:
            return ask(connection, method, target, body, f"{_TICKET}={ticket.id}")
        finally:
            connection.close()

    def _log_in(self, expired: int) -> None:
        """Open a session in the place of this one, unless somebody else has done it meanwhile.

        They are counted: an answer that refuses a session may bring the cookie of another that nobody has opened.
        """
        with self._lock:
            if self._stub.logins != expired:
                return
            if self._content is not None:
                self._tally.lost()
            self._stub.cookie, self._content = "", None
            self._stub.logging_in = threading.get_ident()
            try:
                _ = self.content
            finally:
                self._stub.logging_in = None


def _refused(missing: Iterable[Any]) -> vim.fault.NoPermission | None:
    faults = (one.fault.fault if hasattr(one.fault, "fault") else one.fault for one in missing)
    return next((fault for fault in faults if isinstance(fault, vim.fault.NoPermission)), None)
