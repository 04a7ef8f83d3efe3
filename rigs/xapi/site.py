"""What an administrator and a guest would do: storages, VMs with root disks, drives, and looks into them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from rigs.xapi import vbd_rules
from rigs.xapi.api_sr import file_of, folder
from rigs.xapi.errors import XapiError
from rigs.xapi.fields import NULL
from rigs.xapi.pool import XapiPool

USER_SLOT = "3"
"""Where an orchestrator puts a user's ISO."""
USER_ISO = "debian-12.iso"
NFS_SERVER, NFS_PATH = "nfs1", "/export/primary"
_LIBRARY = "ISO library"


@dataclass(frozen=True)
class Drive:
    """One drive of a VM.

    Attributes:
        reference: of the VBD.
        userdevice: its number.
        kind: `CD` or `Disk`.
        mode: `RO` or `RW`.
        attached: whether the running guest has it.
        seen: whether a guest that has it can see it, too.
        location: the image's file name on its SR; `None` when the drive is empty.
        sr: the uuid of that SR.
        content: the image's bytes; `None` when the drive is empty or its image is gone.
    """

    reference: str
    userdevice: str
    kind: str
    mode: str
    attached: bool
    seen: bool = field(default=True, compare=False)
    location: str | None = None
    sr: str | None = None
    content: bytes | None = field(default=None, repr=False)


class XapiSite:
    """Storages and VMs of a pool.

    Args:
        pool: need not listen.
    """

    def __init__(self, pool: XapiPool) -> None:
        self.pool = pool
        self.world = pool.world

    def add_local_sr(self, host: str, name: str) -> str:
        """Make a storage of one host, with files below /run/sr-mount; return its uuid."""
        return self._add_sr(name, "ext", {"device": "/dev/sdb"}, host=self.pool.host(host).reference)

    def add_block_sr(self, name: str) -> str:
        """Make a storage that all hosts share, and that has volumes in place of files; return its uuid."""
        return self._add_sr(name, "lvm", {})

    def add_nfs_sr(self, name: str) -> str:
        """Make a storage that all hosts share, on an NFS server; return its uuid."""
        self.export(NFS_SERVER, NFS_PATH)
        return self._add_sr(name, "nfs", {"server": NFS_SERVER, "serverpath": NFS_PATH})

    def export(self, server: str, path: str) -> Path:
        """Let an NFS server serve a folder, and return it; below it anything may be made."""
        folder = self.world.export(server, path)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def folder(self, sr: str) -> Path:
        """The directory with the images of an SR, by uuid."""
        return folder(self.world, self.world.db.by_uuid("SR", sr))

    def define_vm(  # noqa: PLR0913  # all have defaults but two
        self,
        name: str,
        sr: str,
        *,
        uuid: str | None = None,
        host: str | None = None,
        hvm: bool = True,
        pv_drivers: bool = True,
    ) -> str:
        """Make a halted VM with its root disk on the SR of that uuid, and return its uuid.

        Args:
            name: its name label.
            sr: where its disk lies.
            uuid: if it has to be that one.
            host: its affinity.
            hvm: whether it boots as HVM, else PV.
            pv_drivers: whether its guest can have disks plugged while it runs.
        """
        world = self.world
        with world.lock:
            own: dict[str, object] = {"name_label": name, "HVM_boot_policy": "BIOS order" if hvm else ""}
            own |= {"affinity": world.host(host).reference if host else NULL, "_pv_drivers": pv_drivers}
            vm = world.db.add("VM", **own, **({"uuid": uuid} if uuid else {}))
            made = str(world.db.row("VM", vm)["uuid"])
            self.add_disk(made, "0", sr)
            return made

    def add_cd(self, vm: str, userdevice: str = "autodetect", other_config: dict[str, str] | None = None) -> str:
        """Give a VM an empty CD drive and return its VBD's reference."""
        return self._add_vbd(self._vm(vm), userdevice, None, kind="CD", other_config=other_config)

    def add_disk(self, vm: str, userdevice: str, sr: str) -> None:
        """Give a VM a disk on the SR of that uuid."""
        world = self.world
        with world.lock:
            disk = {"SR": world.db.by_uuid("SR", sr), "virtual_size": 1 << 20, "name_label": f"disk {userdevice}"}
            options = {"type": "user", "sharable": False, "read_only": False, "other_config": {}}
            vdi = self.pool.call("VDI.create", {**disk, **options})
            self._add_vbd(self._vm(vm), userdevice, str(vdi), kind="Disk")

    def add_user_iso(self, vm: str) -> None:
        """Put a user's ISO, from a library that all hosts share, into slot 3 of a halted VM."""
        world = self.world
        with world.lock:
            if not world.db.find("SR", name_label=_LIBRARY):
                (self.export("iso-library", "/isos") / USER_ISO).write_bytes(b"user's ISO".ljust(4096, b"\0"))
                sr = self._add_sr(_LIBRARY, "iso", {"location": "iso-library:/isos", "type": "nfs_iso"}, content="iso")
                self.pool.call("SR.scan", world.db.by_uuid("SR", sr))
            (vdi,) = world.db.find("VDI", location=USER_ISO)
            self._add_vbd(self._vm(vm), USER_SLOT, vdi, kind="CD")

    def has_user_iso(self, vm: str) -> bool:
        """Whether that ISO is still in slot 3."""
        return any(drive.userdevice == USER_SLOT and drive.location == USER_ISO for drive in self.drives(vm))

    def insert(self, vm: str, userdevice: str, sr: str, location: str) -> None:
        """Exchange what is in a drive, for the image of that file name on an SR (by uuid)."""
        world = self.world
        with world.lock:
            (vbd,) = world.db.find("VBD", VM=self._vm(vm), userdevice=userdevice)
            (vdi,) = world.db.find("VDI", SR=world.db.by_uuid("SR", sr), location=location)
            if not world.db.row("VBD", vbd)["empty"]:
                self.pool.call("VBD.eject", vbd)
            self.pool.call("VBD.insert", vbd, vdi)

    def drives(self, vm: str) -> tuple[Drive, ...]:
        """All drives of a VM, by number, with what is in them."""
        world = self.world
        with world.lock:
            found = [self._drive(vbd) for vbd in world.db.find("VBD", VM=self._vm(vm))]
        return tuple(sorted(found, key=lambda drive: vbd_rules.position(drive.userdevice)))

    def start_vm(self, vm: str, host: str | None = None) -> None:
        """Power a halted VM on, on any host or on that one."""
        if host is None:
            self.pool.call("VM.start", self._vm(vm), False, False)  # noqa: FBT003
        else:
            self.pool.call("VM.start_on", self._vm(vm), self.pool.host(host).reference, False, False)  # noqa: FBT003

    @contextmanager
    def migrating(self, vm: str, host: str) -> Iterator[None]:
        """Have a VM in the middle of a migration for a while: no drive can be made; it is there at the end."""
        row = self.world.db.row("VM", self._vm(vm))
        row["current_operations"] = {"OpaqueRef:migration": "pool_migrate"}
        try:
            yield
        finally:
            row["current_operations"] = {}
            self.migrate_vm(vm, host)

    def stop_vm(self, vm: str) -> None:
        """Power a VM off, hard."""
        self.pool.call("VM.hard_shutdown", self._vm(vm))

    def clone_vm(self, vm: str, name: str) -> str:
        """Copy a VM that is off, with what is in its drives, and return the clone's uuid."""
        clone = self.pool.call("VM.clone", self._vm(vm), name)
        return str(self.world.db.row("VM", str(clone))["uuid"])

    def migrate_vm(self, vm: str, host: str) -> None:
        """Move a running VM within the pool.

        Raises:
            XapiError: as the orchestrator would get it.
        """
        self.pool.call("VM.pool_migrate", self._vm(vm), self.pool.host(host).reference, {"live": "true"})

    def host_of(self, vm: str) -> str | None:
        """The name of the host on which a VM runs."""
        host = self.world.hosts.get(self.world.db.row("VM", self._vm(vm))["resident_on"])
        return host.name if host else None

    def power(self, vm: str) -> str:
        """`Halted`, `Running`, `Paused` or `Suspended`."""
        return str(self.world.db.row("VM", self._vm(vm))["power_state"])

    def _vm(self, uuid: str) -> str:
        return self.world.db.by_uuid("VM", uuid)

    def _drive(self, vbd: str) -> Drive:
        world, row = self.world, self.world.db.row("VBD", vbd)
        seen = vbd_rules.shows(row, world.db.row("VM", row["VM"]))
        drive = Drive(vbd, row["userdevice"], row["type"], row["mode"], row["currently_attached"], seen)
        if row["empty"]:
            return drive
        try:
            vdi = world.db.row("VDI", row["VDI"])
            content = file_of(world, row["VDI"]).read_bytes()
        except (XapiError, FileNotFoundError):
            return replace(drive, location="(gone)")
        return replace(drive, location=vdi["location"], sr=world.db.row("SR", vdi["SR"])["uuid"], content=content)

    def _add_vbd(
        self, vm: str, userdevice: str, vdi: str | None, *, kind: str, other_config: dict[str, str] | None = None
    ) -> str:
        drive = {"userdevice": userdevice, "type": kind, "mode": "RO" if kind == "CD" else "RW", "bootable": False}
        more = {"other_config": other_config or {}, "qos_algorithm_type": "", "qos_algorithm_params": {}}
        record = {"VM": vm, "VDI": vdi or NULL, "empty": vdi is None, **drive, **more}
        return str(self.pool.call("VBD.create", record))

    def _add_sr(
        self, name: str, kind: str, config: dict[str, str], *, host: str | None = None, content: str = "user"
    ) -> str:
        """Make an SR, shared unless it is that host's; return its uuid."""
        world = self.world
        where, names, kinds = host or world.master, (name, ""), (kind, content)
        sr = self.pool.call("SR.create", where, config, "0", *names, *kinds, host is None, {})
        return str(world.db.row("SR", str(sr))["uuid"])
