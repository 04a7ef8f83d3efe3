"""A private KVM host: a real libvirtd with its QEMU driver, in namespaces of its own."""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from typing_extensions import override

from rigs.certificates import Certificates
from rigs.host_files import HostFiles
from rigs.namespace import Namespace
from rigs.process import LOOPBACK, DaemonRig, RigError, RigUnavailable, find_program, free_port

if TYPE_CHECKING:
    import libvirt


# A Unix socket's path has at most 107 bytes.
_LONGEST_SOCKET = 107


class LibvirtHost(DaemonRig):
    """One KVM host of our own: libvirtd on loopback, its QEMU processes, its state below `directory`.

    Several run beside each other and beside the system's libvirtd, and touch neither. Each has its own host name, host
    uuid and processes, and sees the machine's files except libvirt's own directories and `/run`, so a storage path is
    the same on all of them, as shared storage is; `private` paths differ, as local storage does.

    Live migration to another such host works, managed or peer to peer, with the migrate URI `tcp://127.0.0.1` and
    VIR_MIGRATE_UNSAFE: libvirt cannot know that a local directory is shared between the two.
    Guests need `<domain type='qemu'>`.

    Args:
        directory: is made if missing; holds configuration, state and `libvirtd.log`, and survives a stop.
        name: the host's name.
        tls: listen for TLS too, with an authority made for this host; clients need a certificate.
        private: directories that this host has for itself. Each is made (empty) on the machine if it is missing,
            as something has to be mounted over.

    Raises:
        RigUnavailable: libvirtd, QEMU or libvirt-python is not installed.
    """

    def __init__(
        self, directory: Path, name: str = "kvm-1", *, tls: bool = False, private: Sequence[Path] = ()
    ) -> None:
        self.directory = directory
        self.name = name
        self.uuid = uuid.uuid4()
        self.port = free_port()
        self.tls_port = free_port()
        self._tls = tls
        self._files = HostFiles(directory, name, private)
        self._libvirt = _python_binding()
        self._libvirtd = find_program("libvirtd", "libvirt-daemon-system")
        find_program("qemu-system-x86_64", "qemu-system-x86")
        self._namespace = Namespace(directory, name, self._files.mounts())
        self._daemon = self._namespace.daemon(
            [self._libvirtd, "--listen"], self._files.log, {"LIBVIRT_DRIVER_DIR": str(self._files.drivers)}
        )
        self._certificates: Certificates | None = None

    # What a client connects to.

    @property
    def uri(self) -> str:
        """TCP on loopback, with no authentication: the fastest to open."""
        return f"qemu+tcp://{LOOPBACK}:{self.port}/system"

    @property
    def socket(self) -> Path:
        """Libvirtd's read-write Unix socket, by its path on the machine."""
        return self._files.run / "libvirt" / "libvirt-sock"

    @property
    def unix_uri(self) -> str:
        """The Unix socket: what `qemu:///system` is for a libvirtd in its usual place.

        Raises:
            RigUnavailable: `directory` is too long for the path of a socket.
        """
        if len(os.fsencode(self.socket)) > _LONGEST_SOCKET:
            raise RigUnavailable(f"a socket's path has at most {_LONGEST_SOCKET} bytes: {self.socket}")
        return f"qemu+unix:///system?socket={self.socket}"

    @property
    def certificates(self) -> Certificates:
        """The client's certificate and key, and the authority that signed the server's.

        Raises:
            RigError: the host was not made with `tls=True`, or never started.
        """
        if self._certificates is None:
            raise RigError(f"{self.name} does not listen for TLS")
        return self._certificates

    @property
    def tls_uri(self) -> str:
        """TLS with a client certificate: `qemu+tls://127.0.0.1:PORT/system?pkipath=DIR`."""
        return f"qemu+tls://{LOOPBACK}:{self.tls_port}/system?pkipath={self.certificates.directory}"

    @contextlib.contextmanager
    def connection(self) -> Iterator[libvirt.virConnect]:
        """Open a connection to this host and close it at the end."""
        connection = self._libvirt.open(self.uri)
        try:
            yield connection
        finally:
            connection.close()

    # Its life.

    @override
    def start(self) -> None:
        """Switch the host on: what ran before is off, what was defined is there.

        Raises:
            RigUnavailable: we may not make namespaces.
            RigError: libvirtd ended at once or did not answer in time.
        """
        if self._namespace.running:
            self.start_daemon()
            return
        self._files.prepare(host_uuid=self.uuid, tcp_port=self.port, tls_port=self.tls_port if self._tls else None)
        if self._tls and self._certificates is None:
            self._certificates = Certificates.make(self._files.pki, self.name)
        self._namespace.start()
        try:
            self.start_daemon()
        except BaseException:
            self.stop()
            raise

    @override
    def stop(self) -> None:
        """Switch the host off: libvirtd in order, then the guests as by pulling the plug."""
        self.stop_daemon()
        self._namespace.stop()
        self._files.keep_capabilities()

    def start_daemon(self) -> None:
        """Start libvirtd on a host that is on; it takes up the guests that run.

        Raises:
            RigError: the host is off, or libvirtd did not answer in time.
        """
        if not self._namespace.running:
            raise RigError(f"{self.name} is off")
        self._daemon.start()
        self._daemon.wait_ready(self._answers, timeout=20)

    def stop_daemon(self) -> None:
        """End libvirtd alone, in order: the guests go on."""
        self._daemon.stop()

    def kill_daemon(self) -> None:
        """End libvirtd alone, at once (SIGKILL): the guests go on."""
        self._daemon.kill()

    # What it holds.

    def outside(self, path: Path) -> Path:
        """Return where on the machine lies what this host sees at `path`: elsewhere for what is below a private one."""
        return self._files.outside(path)

    def within(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs `argv` with this host's files and name, as sshd on it would.

        Raises:
            RigError: the host is off.
        """
        if not self._namespace.running:
            raise RigError(f"{self.name} is off")
        return self._namespace.within(argv)

    def define_pool(self, name: str, path: Path) -> None:
        """Define and start a storage pool of type dir that starts with the host; makes its directory if missing."""
        self.outside(path).mkdir(parents=True, exist_ok=True)
        xml = f"<pool type='dir'><name>{name}</name><target><path>{path}</path></target></pool>"
        with self.connection() as connection:
            pool = connection.storagePoolDefineXML(xml)
            pool.setAutostart(1)
            pool.create()

    def create_disk(self, pool: str, name: str, *, mib: int = 8, format_: str = "qcow2") -> Path:
        """Make an empty disk as a volume of a pool, and return its path.

        Args:
            pool: the pool's name.
            name: the volume's, such as `vm.qcow2`.
            mib: what the guest sees, MiB.
            format_: `qcow2` or `raw`.
        """
        xml = (
            f"<volume><name>{name}</name><capacity unit='MiB'>{mib}</capacity>"
            f"<target><format type='{format_}'/></target></volume>"
        )
        with self.connection() as connection:
            return Path(connection.storagePoolLookupByName(pool).createXML(xml).path())

    def define_domain(self, xml: str) -> str:
        """Define a persistent domain and return its name."""
        with self.connection() as connection:
            return connection.defineXML(xml).name()

    def _answers(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1):
                pass
        except OSError:
            return False
        with self.connection() as connection:
            return bool(connection.isAlive())


def _python_binding() -> ModuleType:
    """Return libvirt-python, told not to print the errors that it raises.

    Raises:
        RigUnavailable: it is not installed.
    """
    try:
        binding = importlib.import_module("libvirt")
    except ImportError as error:
        raise RigUnavailable("libvirt-python is not installed; it needs libvirt-dev, then `make setup`") from error
    binding.registerErrorHandler(lambda _context, _error: None, None)
    return binding
