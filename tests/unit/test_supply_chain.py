"""What is installed is what was pinned: each package by its hash, from nowhere that a file of ours names."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PINNED = ("constraints.txt", "constraints-kvm.txt")
INSTALLING = ("setup/venv.sh", "deploy/Dockerfile")
PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[a-z,]+\])?==[0-9][^ ]*( ; .*)?")


@pytest.mark.parametrize("name", PINNED)
def test_each_package_has_one_version_and_hashes(name: str) -> None:
    text = (ROOT / name).read_text("utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert lines
    for line in lines:
        package, *hashes = re.split(r" +--hash=", line)
        assert PACKAGE.fullmatch(package.strip()), line[:80]
        assert hashes, package
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one.strip()) for one in hashes), package


@pytest.mark.parametrize("name", [*PINNED, *INSTALLING])
def test_no_file_names_an_address_to_install_from(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    assert not re.search(r"--(extra-)?index-url|--trusted-host|git\+|https?://", text)


@pytest.mark.parametrize("name", INSTALLING)
def test_nothing_of_what_was_pinned_is_installed_without_its_hash(name: str) -> None:
    text = (ROOT / name).read_text("utf-8").replace("\\\n", " ")
    from_lists = [line for line in text.splitlines() if re.search(r"(-r|--requirement)\s+\S*constraints", line)]
    assert from_lists
    assert all("--require-hashes" in line for line in from_lists)
