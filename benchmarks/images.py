"""The image: ours beside what others make of the same files, in time, bytes and memory.

genisoimage is called as Nova calls it (`nova.virt.configdrive`), the staging of the files in a folder included; xorriso
gets the same arguments. Folders and images lie in memory, so that no disk is measured. Ours hands out bytes that were
read back and compared, with their checksum; the others' images nobody has looked at.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Final

from pydantic import SecretBytes, SecretStr

from benchmarks.report import Effort, Item, Panel, Row, milliseconds, percentile
from benchmarks.samples import memory
from configdrive.contents.render import DIRECTORIES, render
from configdrive.drive_data import Address, Metadata, Nic, SshKey, VmData
from configdrive.iso import build, write
from configdrive.iso.layout import checked_folders
from configdrive.iso.verify import verify
from configdrive.model import (
    Generation,
    HostName,
    HypervisorName,
    ImageName,
    InstanceName,
    Vm,
    VmUuid,
)
from rigs import RigUnavailable

Files = Mapping[str, bytes]
Maker = Callable[[Files, int], int]
"""Makes an image of a VM's files, given the number of the run, and returns the image's length in bytes."""

BAR: Final = 20
"""How many times faster than genisoimage we promise to be, for the full layout and ordinary user data."""
LARGE: Final = "1 MiB of user data"
TIMES_DIGEST: Final = 2
"""How many times as long as SHA-256 of the finished image we promise to take at most, where the user data are large."""
SIZES: Final = {"no user data": 0, "32 KiB of user data": 32 * 2**10, LARGE: 2**20}
HEADLINE: Final = ("full layout", "32 KiB of user data")
"""The layout and size that README and the picture show."""
_LABEL: Final = "config-2"
_NOVA: Final = (
    *("-ldots", "-allow-lowercase", "-allow-multidot", "-l"),
    *("-publisher", "OpenStack Compute 27.0.0"),
    *("-quiet", "-J", "-r", "-V", _LABEL),
)
_VM: Final = Vm(
    VmUuid("3a9c10f9-5d53-4d3d-9f3a-0a7d1c2b3e4f"),
    InstanceName("i-2-42-VM"),
    HypervisorName("kvm"),
    HostName("kvm-01"),
)


def full_layout(size: int) -> Files:
    """Return all that a worker writes for a VM with a password, a key, a NIC and so many bytes of user data."""
    nic = Nic(
        "02:00:5e:10:00:01",
        default=True,
        dns=(ip_address("10.1.1.1"),),
        addresses=(
            Address(ip_interface("10.1.1.23/24"), gateway=ip_address("10.1.1.1")),
            Address(ip_interface("2001:db8::17/64"), gateway=ip_address("2001:db8::1")),
        ),
    )
    data = VmData(
        Metadata("zone-1", "CloudStack-{5d53a4d3-9f3a-4a7d-8c2b-3e4f5a6b7c8d}", "i-2-42-VM", "web-1", "Small", "42"),
        user_data=SecretBytes(os.urandom(size)),
        ssh_keys=(SshKey("key-1", "ssh-ed25519 " + "A" * 68),),
        nics=(nic,),
    )
    return dict(render(_VM, data, SecretStr("correct horse")))


def nine_files(size: int) -> Files:
    """Return what the seed's drive has: six values, the password, the user data and the keys."""
    seed = r"cloudstack/(metadata/[a-z_]+|password/vm_password|userdata/user_data)\.txt"
    return {path: content for path, content in full_layout(size).items() if re.fullmatch(seed, path)}


LAYOUTS: Final[dict[str, Callable[[int], Files]]] = {"nine files": nine_files, "full layout": full_layout}


def ours(files: Files, number: int) -> int:
    """Make an image as a worker does."""
    name = ImageName.of(_VM.instance_name, _VM.uuid, Generation(number))
    return len(build.build(name, files, label=_LABEL, built_at=float(number)).content)


def pycdlib_alone(files: Files, number: int) -> int:
    """Make it with the library from nothing, and let nobody read it."""
    return len(write.write(files, checked_folders(files, DIRECTORIES), _LABEL, float(number)))


def pycdlib_read_back(files: Files, number: int) -> int:
    """Make it with the library from nothing, read it back in full, and take its checksum."""
    made = write.write(files, checked_folders(files, DIRECTORIES), _LABEL, float(number))
    verify(made, files, _LABEL, built_at=float(number))
    hashlib.sha256(made).hexdigest()
    return len(made)


def genisoimage(files: Files, _number: int) -> int:
    """Make it as Nova does."""
    return _by_command(PROGRAMS["genisoimage"], files, _finish)[0]


def xorriso(files: Files, _number: int) -> int:
    """Make it as Nova does, with the successor of genisoimage that distributions name today."""
    return _by_command(PROGRAMS["xorriso"], files, _finish)[0]


PROGRAMS: Final = {"genisoimage": ("genisoimage",), "xorriso": ("xorriso", "-as", "mkisofs")}
MAKERS: Final[dict[str, Maker]] = {
    "ours": ours,
    "genisoimage": genisoimage,
    "xorriso": xorriso,
    "pycdlib, read back": pycdlib_read_back,
    "pycdlib alone": pycdlib_alone,
}

WITHIN_THE_WORKER: Final = ("ours", "pycdlib, read back")
"""Makers whose memory is measured in a process that has made images before; programs are measured as they are."""


def _by_command(
    program: tuple[str, ...], files: Files, wait: Callable[[subprocess.Popen[bytes]], int]
) -> tuple[int, int]:
    """Return the length of the image, and what `wait` returns, which gets the program's process."""
    with tempfile.TemporaryDirectory(prefix="cd-", dir=memory()) as folder:
        staged, made = Path(folder, "drive"), Path(folder, "image.iso")
        for path in DIRECTORIES:
            (staged / path).mkdir(parents=True)
        for path, content in files.items():
            (staged / path).write_bytes(content)
        command = [*program, "-o", str(made), *_NOVA, str(staged)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:  # noqa: S603 - a program by its name
            waited = wait(process)
        if process.returncode != 0:
            raise RuntimeError(f"{program[0]} failed with {process.returncode}")
        return made.stat().st_size, waited


def _finish(process: subprocess.Popen[bytes]) -> int:
    return process.wait()


def _watch(process: subprocess.Popen[bytes]) -> int:
    """Return the peak of the process's resident memory, in KiB, as it is shown last before the process ends.

    The kernel's own account at the end (`ru_maxrss`) counts also what the process was before it became this program.
    """
    peak = 0
    while process.poll() is None:
        peak = max(peak, _resident(process.pid, "VmHWM"))
    return peak


def measure(_directory: Path, effort: Effort) -> Iterator[Item]:
    """Make images of each layout and size by all makers in turn, so that all of them see the same machine."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            raise RigUnavailable(f"{program} is not installed")
    runs = effort.pick(40, 15, 2)
    growth = _growth()
    for layout, files_of in LAYOUTS.items():
        for size, count in SIZES.items():
            seconds = dict[str, list[float]]((name, []) for name in MAKERS)
            lengths = dict[str, int]()
            for number in range(1 + runs):
                files = files_of(count)  # another VM's each time
                for name, make in MAKERS.items():
                    began = time.perf_counter()
                    lengths[name] = make(files, number)
                    seconds[name].append(time.perf_counter() - began)
            taken = {name: values[1:] for name, values in seconds.items()}
            yield _time_row(layout, size, taken, _digest_seconds(lengths["ours"], runs))
            yield _size_row(layout, size, lengths, growth)
            if (layout, size) == HEADLINE:
                medians = {name: statistics.median(values[1:]) * 1000 for name, values in seconds.items()}
                yield Panel(f"Image of the {layout}, {size}: median", "ms", medians)


def _digest_seconds(length: int, runs: int) -> float:
    """Return the median time of SHA-256 over so many bytes."""
    content, seconds = os.urandom(length), list[float]()
    for _ in range(runs):
        began = time.perf_counter()
        hashlib.sha256(content).hexdigest()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _time_row(layout: str, size: str, seconds: Mapping[str, list[float]], digest: float) -> Row:
    shown = {
        name: f"{milliseconds(statistics.median(values))} (95 % within {milliseconds(percentile(values, 95))})"
        for name, values in seconds.items()
    }
    # Of each the quickest run: what else the machine has to do slows a program that starts down more than ours.
    times = min(seconds["genisoimage"]) / min(seconds["ours"])
    is_promised, is_large = layout == "full layout", size == LARGE
    median = milliseconds(statistics.median(seconds["ours"]))
    bar, met = f"≥ {BAR} times", times >= BAR
    if is_large:
        shown["SHA-256 of it alone"] = milliseconds(digest)
        bar, met = f"≤ {TIMES_DIGEST} times SHA-256", statistics.median(seconds["ours"]) <= TIMES_DIGEST * digest
    return Row(
        f"image: {layout}, {size}",
        f"{shown.pop('ours')}: {times:.0f} times faster than genisoimage",
        ", ".join(f"{name}: {figure}" for name, figure in shown.items()),
        bar if is_promised else "",
        met if is_promised else None,
        f"**{median}** to build an image with {size} and read it back; genisoimage takes {times:.0f} times as long."
        if (layout, size) == HEADLINE
        else "",
    )


def _size_row(layout: str, size: str, lengths: Mapping[str, int], growth: Mapping[str, int]) -> Row:
    files = LAYOUTS[layout](SIZES[size])
    needed = {name: f"{_by_command(program, files, _watch)[1] / 1024:.1f} MiB" for name, program in PROGRAMS.items()}
    grown = {name: growth[f"{name}, {layout}, {size}"] for name in WITHIN_THE_WORKER}
    return Row(
        f"image: its bytes, and the memory to make it ({layout}, {size})",
        f"{lengths['ours'] / 1024:.0f} KiB; {grown['ours'] / 1024:.1f} MiB more in the worker",
        f"genisoimage: {lengths['genisoimage'] / 1024:.0f} KiB, a process of {needed['genisoimage']}; "
        f"xorriso: {lengths['xorriso'] / 1024:.0f} KiB, {needed['xorriso']}; "
        f"pycdlib: {grown['pycdlib, read back'] / 1024:.1f} MiB more",
    )


def _growth() -> dict[str, int]:
    """Ask a fresh process, which knows no image, for the memory that images take in a worker, in KiB."""
    command = [sys.executable, "-m", "benchmarks.images"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - this module
    return {what: int(grown) for what, _, grown in (line.rpartition(" ") for line in said.splitlines())}


def main() -> None:
    """Print by how much the resident memory grows at most while one image is made, in KiB, for each kind of image."""
    for name in WITHIN_THE_WORKER:
        for layout in LAYOUTS:
            for size in SIZES:
                child = os.fork()  # so that no image finds memory that another one has left
                if child == 0:
                    sys.stdout.write(f"{name}, {layout}, {size} {_grown(MAKERS[name], LAYOUTS[layout], SIZES[size])}\n")
                    sys.stdout.flush()
                    os._exit(0)
                _, status = os.waitpid(child, 0)
                if status != 0:
                    raise RuntimeError("a measurement failed")


def _grown(make: Maker, files_of: Callable[[int], Files], count: int) -> int:
    """Make an image, in a process that has made others before, without user data."""
    for number in range(3):
        make(files_of(0), number)
    files = files_of(count)
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # the peak begins anew: proc(5)
    before = _resident(os.getpid(), "VmRSS")
    make(files, 3)
    return _resident(os.getpid(), "VmHWM") - before


def _resident(pid: int, field: str) -> int:
    """Return a field of proc(5), in KiB; 0 of a process that has just ended."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("ascii"))
    return int(found[1]) if found else 0


if __name__ == "__main__":
    main()
