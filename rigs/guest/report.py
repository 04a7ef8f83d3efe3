"""Reads what the guest printed on its serial console; `init` beside this file prints it."""

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from rigs.process import RigError, wait_until

T = TypeVar("T")

_BOOT = re.compile(r"^@@ configdrive boot at ([\d.]+)$")
_REPORT = re.compile(r"^@@ configdrive report (\d+) at [\d.]+$")
_END = re.compile(r"^@@ configdrive end (\d+)$")
_FILE = re.compile(r"^@ (?P<size>\d+) (?P<digest>[0-9a-f]{64}) (?P<form>text|base64|digest) (?P<path>.+)$")


@dataclass(frozen=True, slots=True)
class DriveReport:
    """What the guest found on one medium.

    Attributes:
        number: counts the media of one boot, from 1.
        session: the shell session as it was printed, from `blkid` to `ls -lR`, for people.
        blkid: the line of `blkid -t LABEL='...'`.
        mount_line: the line of /proc/mounts; empty if the medium could not be mounted.
        files: path below the drive's root -> content. Every content was checked against its digest.
    """

    number: int
    session: str
    blkid: str
    mount_line: str
    files: dict[str, bytes] = field(repr=False)  # a password among them

    @property
    def device(self) -> str:
        """The block device, such as `/dev/sr0`."""
        return self.blkid.partition(":")[0]

    @property
    def mount_options(self) -> frozenset[str]:
        """The options it is mounted with, `ro` among them."""
        return frozenset(self.mount_line.split()[3].split(",")) if self.mount_line else frozenset()


def read_reports(console: Path) -> list[DriveReport]:
    """Return the complete reports of the guest's last boot, in order.

    Raises:
        RigError: a file's content does not agree with its digest.
    """
    reports: list[DriveReport] = []
    begun: int | None = None
    lines: list[str] = []
    for line in _lines(console):
        if start := _REPORT.match(line):
            begun, lines = int(start[1]), []
        elif begun and (end := _END.match(line)) and int(end[1]) == begun:
            reports.append(_report(begun, lines))
            begun = None
        else:
            lines.append(line)
    return reports


def wait_for_report(console: Path, number: int = 1, *, timeout: float = 60.0) -> DriveReport:
    """Wait until the guest has printed its report with that number, and return it.

    Raises:
        RigError: the time is over; the message carries the console's last lines.
    """

    def found() -> DriveReport | None:
        return next((report for report in read_reports(console) if report.number == number), None)

    return _wait(console, found, f"the guest's report {number}", timeout)


def wait_for_boot(console: Path, *, timeout: float = 60.0) -> float:
    """Wait until the guest's init has begun, and return the seconds since its kernel started.

    Raises:
        RigError: the time is over.
    """

    def found() -> float | None:
        return next((float(boot[1]) for line in _lines(console) if (boot := _BOOT.match(line))), None)

    return _wait(console, found, "the guest's boot", timeout)


def _wait(console: Path, found: Callable[[], T | None], what: str, timeout: float) -> T:
    try:
        return wait_until(found, what, timeout=timeout, interval=0.05)
    except RigError as error:
        # Without the files' contents: a failure's text must not carry what the drive holds.
        last = [line for line in _lines(console) if not line.startswith("| ")][-20:]
        raise RigError("\n".join([f"{error}; its console ends with:", *last])) from None


def _lines(console: Path) -> list[str]:
    """Return the lines of the last boot. A host that takes a running guest over leaves a gap of zero bytes before."""
    try:
        text = console.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return []
    lines = text.replace("\0", "").replace("\r", "").split("\n")[:-1]
    boots = [index for index, line in enumerate(lines) if _BOOT.match(line)]
    return lines[boots[-1] :] if boots else lines


def _report(number: int, lines: list[str]) -> DriveReport:
    commands = [index for index, line in enumerate(lines) if line.startswith("# ")]
    sections = {
        lines[start].split()[1]: lines[start + 1 : end]
        for start, end in zip(commands, [*commands[1:], len(lines)], strict=True)
    }
    session = lines[: lines.index("# files")] if "# files" in lines else lines
    return DriveReport(
        number=number,
        session="\n".join(session),
        blkid="\n".join(sections.get("blkid", [])),
        mount_line="\n".join(sections.get("grep", [])),
        files=_files(sections.get("files", [])),
    )


def _files(lines: list[str]) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    heads = [(index, head) for index, line in enumerate(lines) if (head := _FILE.match(line))]
    ends = [*(index for index, _ in heads[1:]), len(lines)][: len(heads)]
    for (start, head), end in zip(heads, ends, strict=True):
        path = head["path"]
        body = [line[2:] for line in lines[start + 1 : end] if line.startswith("| ")]
        if head["form"] == "digest":
            continue
        if head["form"] == "base64":
            content = base64.b64decode("".join(body))
        else:
            content = "\n".join(body).encode()
            content += b"\n" * (int(head["size"]) - len(content))  # a last line that ends
        if hashlib.sha256(content).hexdigest() != head["digest"]:
            raise RigError(f"what the guest printed of {path} does not agree with its digest")
        contents[path] = content
    return contents
