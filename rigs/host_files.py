"""The files of a private libvirt host: its configuration, its state, and what it sees of the machine's."""

import os
import random
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from rigs.process import LOOPBACK, RigUnavailable, cache_directory

# What a KVM host of ours needs. The others (networks, interfaces, devices, filters) would look at, and some of them
# change, the machine that we run on.
_DRIVERS = ("qemu", "storage", "secret")
_DRIVER_GLOBS = ("usr/lib/*/libvirt/connection-driver", "usr/lib64/libvirt/connection-driver")

# Of libvirtd's own directories, which each host has for itself; `/run` as a whole, so that it meets no system bus.
_STATE = {
    "etc": Path("/etc/libvirt"),
    "lib": Path("/var/lib/libvirt"),
    "cache": Path("/var/cache/libvirt"),
    "log": Path("/var/log/libvirt"),
    "run": Path("/run"),
}

# What libvirtd found out about the machine's QEMU programs. It checks whether that still holds; without it, it spends
# its first second and a half on asking them.
_CAPABILITIES = "libvirt-capabilities"

# Live migration listens here, on the host that receives; outside of the range that `free_port` takes ports from.
_MIGRATION_PORTS = range(61000, 65400, 40)

_LIBVIRTD_CONF = """\
host_uuid = "{host_uuid}"
listen_addr = "{address}"
listen_tcp = 1
tcp_port = "{tcp_port}"
auth_tcp = "none"
auth_unix_rw = "none"
"""

_LIBVIRTD_TLS_CONF = """\
listen_tls = 1
tls_port = "{tls_port}"
auth_tls = "none"
ca_file = "{pki}/cacert.pem"
cert_file = "{pki}/servercert.pem"
key_file = "{pki}/serverkey.pem"
"""

_QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
stdio_handler = "file"
namespaces = [ ]
cgroup_controllers = [ ]
migration_port_min = {first_port}
migration_port_max = {last_port}
"""


class HostFiles:
    """What lies below one host's directory, and where the host sees it.

    Args:
        directory: the host's.
        name: the host's.
        private: paths that the host has for itself.
    """

    def __init__(self, directory: Path, name: str, private: Sequence[Path]) -> None:
        self.directory = directory
        self.run = directory / "run"
        self.pki = directory / "pki"
        self.drivers = directory / "drivers"
        self.log = directory / "libvirtd.log"
        self._name = name
        self._hosts = directory / "hosts"
        self._private = {path: directory / "private" / str(index) for index, path in enumerate(private)}

    def mounts(self) -> dict[Path, Path]:
        """Return path inside -> file or directory outside."""
        return {
            **{inside: self.directory / name for name, inside in _STATE.items()},
            Path("/etc/hosts"): self._hosts,
            **self._private,
        }

    def outside(self, path: Path) -> Path:
        """Return where on the machine lies what the host sees at `path`."""
        for private, outside in self._private.items():
            if path.is_relative_to(private):
                return outside / path.relative_to(private)
        return path

    def prepare(self, *, host_uuid: uuid.UUID, tcp_port: int, tls_port: int | None) -> None:
        """Write everything that libvirtd reads at its start; what ran before a stop is forgotten, as at a boot.

        Raises:
            RigUnavailable: the system has no libvirtd as Debian packages it.
        """
        shutil.rmtree(self.run, ignore_errors=True)
        for name, inside in _STATE.items():
            if not inside.is_dir():
                raise RigUnavailable(f"{inside} is missing; on Debian: apt-get install libvirt-daemon-system")
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        for inside, outside in self._private.items():
            inside.mkdir(parents=True, exist_ok=True)
            outside.mkdir(parents=True, exist_ok=True)
        # Its own name has to be found without asking a name server.
        self._hosts.write_text(f"127.0.0.1 localhost {self._name}\n")
        self._write_configuration(host_uuid, tcp_port, tls_port)
        self._choose_drivers()
        self._copy_capabilities(cache_directory(_CAPABILITIES), self._capabilities)

    def keep_capabilities(self) -> None:
        """Hand what libvirtd found out about QEMU on to the next host."""
        self._copy_capabilities(self._capabilities, cache_directory(_CAPABILITIES))

    @property
    def _capabilities(self) -> Path:
        return self.directory / "cache" / "qemu" / "capabilities"

    def _write_configuration(self, host_uuid: uuid.UUID, tcp_port: int, tls_port: int | None) -> None:
        etc = self.directory / "etc"
        text = _LIBVIRTD_CONF.format(host_uuid=host_uuid, address=LOOPBACK, tcp_port=tcp_port)
        text += "listen_tls = 0\n" if tls_port is None else _LIBVIRTD_TLS_CONF.format(tls_port=tls_port, pki=self.pki)
        (etc / "libvirtd.conf").write_text(text)
        first = random.choice(_MIGRATION_PORTS)  # noqa: S311  # no secret
        text = _QEMU_CONF.format(first_port=first, last_port=first + _MIGRATION_PORTS.step - 1)
        (etc / "qemu.conf").write_text(text)

    def _choose_drivers(self) -> None:
        found = [directory for glob in _DRIVER_GLOBS for directory in Path("/").glob(glob)]
        if not found:
            raise RigUnavailable(
                "libvirtd's drivers are missing; on Debian: apt-get install libvirt-daemon-driver-qemu"
            )
        shutil.rmtree(self.drivers, ignore_errors=True)
        self.drivers.mkdir()
        for driver in _DRIVERS:
            module = found[0] / f"libvirt_driver_{driver}.so"
            (self.drivers / module.name).symlink_to(module)

    @staticmethod
    def _copy_capabilities(source: Path, target: Path) -> None:
        if not source.is_dir():
            return
        target.mkdir(parents=True, exist_ok=True)
        for file in source.iterdir():
            copy, content = target / file.name, file.read_bytes()
            if not (copy.exists() and copy.read_bytes() == content):
                part = copy.with_suffix(f".{os.getpid()}.part")
                part.write_bytes(content)
                part.replace(copy)
