import hashlib
from pathlib import Path

import pytest

from rigs import RigError
from rigs.guest import read_reports, wait_for_report

SECRET = "s3cret"
BOOT = b"@@ configdrive boot at 2.40\r\n"


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


@pytest.mark.parametrize(
    ("written", "found"),
    [
        (console(1, "one"), [(1, b"one")]),
        (console(1, "one")[:-3], []),
        (BOOT + console(1, "old") + console(2, "older") + BOOT + console(1, "new"), [(1, b"new")]),
        (bytes(1000) + console(2, "two"), [(2, b"two")]),
    ],
    ids=["whole", "incomplete", "of the last boot", "behind the gap that a migration leaves"],
)
def test_reports_are_read_from_a_console(tmp_path: Path, written: bytes, found: list[tuple[int, bytes]]) -> None:
    (file := tmp_path / "console").write_bytes(written)
    reports = read_reports(file)
    assert [(report.number, report.files["password.txt"]) for report in reports] == found
    assert {report.device for report in reports} <= {"/dev/sr0"}


def test_a_content_that_the_console_spoilt_is_refused(tmp_path: Path) -> None:
    (file := tmp_path / "console").write_bytes(console(1, "one", digest="0" * 64))
    with pytest.raises(RigError, match=r"password\.txt does not agree with its digest"):
        read_reports(file)


def test_neither_a_report_nor_a_failure_shows_what_is_on_the_drive(tmp_path: Path) -> None:
    (file := tmp_path / "console").write_bytes(console(1, SECRET))
    with pytest.raises(RigError, match="waited 0 s for the guest's report 2") as failure:
        wait_for_report(file, 2, timeout=0)
    assert "configdrive end 1" in str(failure.value)
    assert SECRET not in str(failure.value)
    assert SECRET not in repr(read_reports(file))
