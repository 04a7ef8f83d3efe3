"""The seed's own shell session, word for word, in a Linux kernel; and what that kernel shows without Rock Ridge."""

import hashlib

import pytest

from tests.integration.image.conftest import Drive
from tests.integration.image.linux import run_in_linux
from tests.support import require_rig

CHECKSUMS = """
for disk in a b c; do
  for options in ro ro,norock ro,norock,nojoliet; do
    mkdir -p /mnt/$disk/$options
    mount -t iso9660 -o $options /dev/ubd$disk /mnt/$disk/$options && cd /mnt/$disk/$options &&
      find . -type f -exec sha256sum {} +
    echo .
  done
done
"""
SEED_SESSION = """
blkid -t LABEL='config'
mount LABEL=config /mnt/
cd /mnt/
ls
ls -lR
"""


@pytest.fixture(scope="module")
def said(drives: dict[str, Drive], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The checksums of each drive's files, three times, and the seed's session: of one kernel with three disks."""
    first, *more = (drive.path for drive in drives.values())
    with require_rig():
        return run_in_linux(first, CHECKSUMS + SEED_SESSION, tmp_path_factory.mktemp("linux"), more=more).split("\n.\n")
    raise AssertionError


def test_the_seeds_session(said: list[str]) -> None:
    lines = said[-1].splitlines()
    found, mounted, shown, *listing = (" ".join(line.split()) for line in lines)
    assert found.startswith("/dev/ubda: ")
    assert 'LABEL="config"' in found
    assert 'TYPE="iso9660"' in found
    assert "write-protected, mounted read-only" in mounted
    assert shown.split() == ["cloudstack", "ec2", "openstack"]
    assert "dr-xr-xr-x 2 root root 4096 Mar 10 2017 metadata" in listing
    assert "dr-xr-xr-x 2 root root 2048 Mar 10 2017 password" in listing
    for size, name in (
        (5, "availability_zone.txt"),
        (49, "cloud_identifier.txt"),
        (9, "instance_id.txt"),
        (9, "local_hostname.txt"),
        (14, "service_offering.txt"),
        (2, "vm_id.txt"),
    ):
        assert [line for line in listing if line.endswith(f" {name}")] == [
            f"-r-xr-xr-x 1 root root {size} Mar 10 2017 {name}",
        ]
    modes = {line.split()[0] for line in listing if line and not line.startswith(("total ", "."))}
    assert modes == {"-r-xr-xr-x", "dr-xr-xr-x"}


def test_linux_reads_every_byte_with_and_without_rock_ridge(said: list[str], drives: dict[str, Drive]) -> None:
    assert len(said) == 3 * len(drives) + 1
    for number, drive in enumerate(drives.values()):
        wanted = {f"{hashlib.sha256(data).hexdigest()}  ./{path}" for path, data in drive.files.items()}
        rock_ridge, joliet, plain = (set(text.splitlines()) for text in said[3 * number : 3 * number + 3])
        assert rock_ridge == joliet == wanted
        # Linux lower-cases plain names and takes off the version; ours lose nothing else.
        assert {line.lower() for line in plain} == {line.lower() for line in wanted}
