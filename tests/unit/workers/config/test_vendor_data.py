"""The operator's vendor data: what is taken from the file, and what is refused at the start, with the remedy."""

from pathlib import Path

import pytest

from configdrive.errors import PermanentCode, PermanentError
from workers.config.settings import Settings


def settings(path: Path | None) -> Settings:
    return Settings(vendor_data_file=path)


def test_without_a_file_there_is_none() -> None:
    assert settings(None).drives.vendor_data is None


@pytest.mark.parametrize(
    "text",
    [
        "#cloud-config\nruncmd: []\n",
        "#!/bin/sh\n",
        "#include\nhttps://example.com\n",
        "## template: jinja\n#cloud-config\n",
    ],
)
def test_what_cloud_init_tells_by_its_beginning_is_taken(tmp_path: Path, text: str) -> None:
    (tmp_path / "vendor").write_text(text)
    assert settings(tmp_path / "vendor").drives.vendor_data == text
    assert "cloud" not in repr(settings(tmp_path / "vendor").drives)


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"runcmd: [swordfish]\n",
        b"Content-Type: multipart/mixed; boundary=swordfish\n",
        b"\x1f\x8bswordfish",
        b"#!/bin/sh\n\xff",
        b"#!/bin/sh\n\x00",
        b"#!/bin/sh\n" + b"swordfish" * 10_000,
    ],
)
def test_anything_else_is_refused_and_not_shown(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "vendor").write_bytes(content)
    with pytest.raises(PermanentError, match="vendor_data_file: ") as caught:
        _ = settings(tmp_path / "vendor").drives
    assert caught.value.code is PermanentCode.MISCONFIGURED
    assert caught.value.remedy
    assert "swordfish" not in str(caught.value)
