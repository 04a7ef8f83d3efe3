from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from rigs import RigError
from rigs.guest import read_reports, wait_for_report

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "s3cret"


def console(number: int, content: str, digest: str | None = None) -> bytes:
    digest = digest or hashlib.sha256(content.encode()).hexdigest()
    return (
        f"@@ configdrive report {number} at 2.50\r\n"
        "# blkid -t LABEL='config'\r\n"
        '/dev/sr0: BLOCK_SIZE="2048" LABEL="config" TYPE="iso9660"\r\n'
        "# files\r\n"
        f"@ {len(content)} {digest} text password.txt\r\n"
        f"| {content}\r\n"
        f"@@ configdrive end {number}\r\n"
    ).encode()


def test_a_report_counts_once_it_is_complete(tmp_path: Path) -> None:
    file = tmp_path / "console"
    whole = console(1, "one")
    file.write_bytes(whole[:-3])
    assert read_reports(file) == []
    file.write_bytes(whole)
    [report] = read_reports(file)
    assert (report.number, report.device) == (1, "/dev/sr0")
    assert report.files == {"password.txt": b"one"}


def test_only_the_last_boot_counts(tmp_path: Path) -> None:
    file = tmp_path / "console"
    boot = b"@@ configdrive boot at 2.40\r\n"
    file.write_bytes(boot + console(1, "old") + console(2, "older") + boot + console(1, "new"))
    assert [report.files["password.txt"] for report in read_reports(file)] == [b"new"]


def test_the_gap_that_a_migration_leaves_is_no_part_of_a_line(tmp_path: Path) -> None:
    file = tmp_path / "console"
    file.write_bytes(bytes(1000) + console(2, "two"))
    assert [report.number for report in read_reports(file)] == [2]


def test_a_content_that_the_console_spoilt_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "console"
    file.write_bytes(console(1, "one", digest="0" * 64))
    with pytest.raises(RigError, match=r"password\.txt does not agree with its digest"):
        read_reports(file)


def test_neither_a_report_nor_a_failure_shows_what_is_on_the_drive(tmp_path: Path) -> None:
    file = tmp_path / "console"
    file.write_bytes(console(1, SECRET))
    with pytest.raises(RigError, match="waited 0 s for the guest's report 2") as failure:
        wait_for_report(file, 2, timeout=0)
    assert "configdrive end 1" in str(failure.value)
    assert SECRET not in str(failure.value)
    assert SECRET not in repr(read_reports(file))
