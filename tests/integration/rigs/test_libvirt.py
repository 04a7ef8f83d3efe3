import subprocess
import sys
import uuid
from pathlib import Path

from rigs.guest import GuestKernel, domain_xml
from rigs.libvirt import LibvirtHost
from tests.support import require_rig, wait_until

ROOT = Path(__file__).parents[3]
SCRIPT = """
import pathlib, sys, time
from rigs.libvirt import LibvirtHost
host = LibvirtHost(pathlib.Path(sys.argv[1]))
host.start()
with host.connection() as connection:
    connection.createXML(sys.argv[2])
print("up", flush=True)
time.sleep(1000)
"""


def processes(vm_uuid: str) -> list[str]:
    """Return the process ids of a guest's QEMU: one, or none."""
    return [
        path.parent.name
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if vm_uuid.encode() in _read(path).split(b"\0") and _read(path.with_name("comm")).startswith(b"qemu")
    ]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_a_guest_dies_with_the_process_that_started_its_host(tmp_path: Path) -> None:
    """It is libvirtd's child, with an environment of libvirtd's making: no reaper knows it by its mark."""
    with require_rig():
        guest = GuestKernel.prepare()
        with LibvirtHost(tmp_path / "host") as host:
            pass
    vm_uuid = str(uuid.uuid4())
    argv = [
        sys.executable,
        "-c",
        SCRIPT,
        str(host.directory),
        domain_xml("vm", vm_uuid, guest, host.directory / "console"),
    ]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        assert len(processes(vm_uuid)) == 1
        process.kill()
    wait_until(lambda: not processes(vm_uuid), "the guest's end", timeout=5)
