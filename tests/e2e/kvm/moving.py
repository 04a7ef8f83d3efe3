"""A VM that moves between the hosts: what its administrator does, its orchestrator sends, and what is there then."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import libvirt

from configdrive.contract.outcome import Outcome, Status
from configdrive.model import HypervisorName, ImageName, InstanceName, Vm, VmUuid
from rigs.cloud import VmScript
from rigs.fleet import Fleet
from rigs.process import wait_until
from rigs.running_files import read_files_below
from tests.e2e.kvm.site import ALONE, CACHE, LOCAL, OTHER, SHARED, Site
from tests.e2e.orchestrator import GUEST, Orchestrator
from tests.integration.kvm.cloud import ROOT_DISK, disk
from tests.support import find_program, run_command

_MOVE = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_UNSAFE
_THERE: Any = {libvirt.VIR_MIGRATE_PARAM_URI: "tcp://127.0.0.1"}


@dataclass
class Moving(Orchestrator):
    """One VM, defined on `h1` with its root disk in a directory.

    Args:
        site: the hosts.
        fleet: gets the events.
        root: the root disk's directory.
    """

    hypervisor: ClassVar = "kvm"
    site: Site
    fleet: Fleet
    root: Path
    script: VmScript = field(default_factory=VmScript)
    host: str = "h1"

    @property
    def vm(self) -> Vm:
        """The VM as drivers know it."""
        name = InstanceName(self.script.name)
        return Vm(VmUuid(self.script.uuid), name, HypervisorName("kvm"), self.site.clouds["h1"].name)

    @property
    def root_disk(self) -> Path:
        return self.root / f"{self.script.uuid}.root"

    # --- the administrator -----------------------------------------------------------------------------------------

    def define(self, host: str = "h1", drives: str = "", *, transient: bool = False) -> None:
        """Define a VM that waits for a key, or start one without a definition, as CloudStack does."""
        self.put_root(host)
        root = disk(self.root_disk, "vda", "virtio", "disk")
        self.site.clouds[host].define(drives, root=root, vm=self.vm, transient=transient)

    def move_root(self, root: Path) -> None:
        """Move the root disk of the halted VM to another directory; nothing else of its definition changes."""
        before, xml = self.root_disk, self.domain("h1").XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        self.root = root
        self.put_root("h1")
        self.site.hosts["h1"].define_domain(xml.replace(str(before), str(self.root_disk)))

    def copy_root(self, root: Path) -> None:
        """Move the root disk of the running VM to another directory."""
        self.root, running = root, self.domain("h1")
        copy = disk(self.root_disk, "vda", "virtio", "disk")
        running.blockCopy("vda", copy, flags=libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB)
        wait_until(lambda: "ready='yes'" in running.XMLDesc(0), "the copy of the root disk", timeout=20)
        running.blockJobAbort("vda", libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)

    def power_on(self, host: str = "h1") -> None:
        self.domain(host).create()

    def power_off(self, host: str = "h1") -> None:
        self.domain(host).destroy()

    def domain(self, host: str) -> libvirt.virDomain:
        return self.site.clouds[host].connection.lookupByUUIDString(self.vm.uuid)

    def knows(self, host: str) -> bool:
        """Say whether the host knows the VM."""
        try:
            self.domain(host)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            return False
        return True

    def move(self, to: str = "h2", *, undefine: bool = True, root: bool = True) -> None:
        """Migrate live from the other host.

        Args:
            to: the destination.
            undefine: the source forgets the VM; otherwise it keeps the definition, which is libvirt's default.
            root: bring the root disk there before, if the destination does not see it.

        Raises:
            libvirt.libvirtError: libvirt refused, or could not.
        """
        if root:
            self.put_root(to)
        source: libvirt.virDomain = self.domain("h2" if to == "h1" else "h1")
        flags = _MOVE
        if source.isPersistent():
            flags |= libvirt.VIR_MIGRATE_PERSIST_DEST | (libvirt.VIR_MIGRATE_UNDEFINE_SOURCE if undefine else 0)
        source.migrate3(self.site.clouds[to].connection, _THERE, flags)

    def change_medium(self, host: str, path: Path | None) -> None:
        """Change what is in the running VM's drive, past the fleet."""
        self.site.clouds[host].exchange(self.vm, disk(path, "hdd", "ide"))

    # --- the orchestrator ------------------------------------------------------------------------------------------

    def retry(self, parked: Outcome) -> Outcome:
        """Tell the fleet to try a parked event again, as an operator does, and wait for its final outcome.

        Raises:
            RigError: there was none within 300 s.
        """
        done = run_command(self.fleet.environment, "retry", self.script.uuid)
        assert done.exit_code == 0, done.output
        return self.goes_on(parked)

    def migrate(self, phase: str, **data: Any) -> Outcome:  # noqa: ANN401 - as above
        return self.send("migrate", phase=phase, **{"destination": "h2"} | data)

    # --- what is there ---------------------------------------------------------------------------------------------

    def media(self, host: str) -> set[str]:
        """What libvirt says is in the VM's drives on this host, in the running and in the persistent definition."""
        layers = [self.site.clouds[host].media(self.vm), self.site.clouds[host].media(self.vm, inactive=True)]
        return {path for layer in layers for path in layer.values() if path is not None}

    def guest_has(self, host: str) -> str | None:
        """What QEMU itself says is in the drive."""
        return next(iter(self.site.clouds[host].guest_sees(self.vm)), None)

    @property
    def opened(self) -> bytes:
        """What QEMU itself has open as the medium, whatever lies under its name by now."""
        pgrep = [find_program("pgrep", "procps"), "--full", "--", f"-uuid {self.script.uuid}"]
        files = Path(f"/proc/{int(subprocess.check_output(pgrep))}/fd").iterdir()
        (medium,) = (file for file in files if ".iso" in str(file.readlink()))
        return medium.read_bytes()

    def images(self, host: str) -> dict[Path, bytes]:
        """Every image of the VM that the host can see, by its path there."""
        found = {}
        for name in (SHARED, LOCAL, OTHER, ALONE, CACHE):
            inside = self.site.directory / name
            outside = self.site.hosts[host].outside(inside)
            for path, content in read_files_below(outside):
                if self.script.uuid in path.name and ImageName.parse(path.name):
                    found[inside / path.relative_to(outside)] = content
        return found

    def put_root(self, host: str) -> None:
        """Bring the root disk onto the host, as an administrator does who migrates without shared storage."""
        path = self.site.hosts[host].outside(self.root_disk)
        if not path.exists():
            path.write_bytes(ROOT_DISK)


NewVm = Callable[[str], Moving]
"""Makes a VM that is defined on `h1`, its root disk in the directory of this name."""


def started(vm: Moving) -> Path:
    """Give the VM its drive and power it on; returns the image's path."""
    outcome = vm.send("start", guest=GUEST)
    assert outcome.status is Status.APPLIED, outcome
    vm.power_on()
    (path,) = vm.images("h1")
    require_untouched(vm, path)
    return path


def running(vm: Moving) -> Path:
    """As `started`, for a VM that waits for a key."""
    vm.define()
    return started(vm)


def require_untouched(vm: Moving, path: Path) -> None:
    """See that the VM runs on h1 with its image, and h2 has nothing of it."""
    assert vm.guest_has("h1") == str(path)
    assert vm.media("h1") == {str(path)}
    assert list(vm.images("h1")) == [path]
    assert not vm.knows("h2")


def require_moved(vm: Moving, path: Path, content: bytes) -> None:
    """See that the VM runs on h2 with its image, and h1 has nothing of it."""
    assert vm.guest_has("h2") == str(path)
    assert vm.media("h2") == {str(path)}
    assert vm.images("h2") == {path: content}
    assert not vm.knows("h1") or vm.media("h1") == set()
