"""The seed's own shell session, word for word, in a Linux kernel; and what that kernel shows without Rock Ridge."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from tests.integration.image.linux import run_in_linux
from tests.support import require_rig

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.image.conftest import Drive

SEED_SESSION = """
blkid -t LABEL='config'
mount LABEL=config /mnt/
cd /mnt/
ls
ls -lR
"""
CHECKSUMS = """
for options in ro ro,norock ro,norock,nojoliet; do
  mkdir -p /mnt/$options
  mount -t iso9660 -o $options /dev/ubda /mnt/$options && cd /mnt/$options && find . -type f -exec sha256sum {} +
  echo .
done
"""


def session(drive: Drive, script: str, scratch: Path) -> str:
    with require_rig():
        return run_in_linux(drive.path, script, scratch)
    raise AssertionError


def test_the_seeds_session(full: Drive, tmp_path: Path) -> None:
    lines = session(full, SEED_SESSION, tmp_path).splitlines()
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


def test_linux_reads_every_byte_with_and_without_rock_ridge(drive: Drive, tmp_path: Path) -> None:
    wanted = {f"{hashlib.sha256(data).hexdigest()}  ./{path}" for path, data in drive.files.items()}
    rock_ridge, joliet, plain, nothing = session(drive, CHECKSUMS, tmp_path).split("\n.\n")
    assert set(rock_ridge.splitlines()) == wanted
    assert set(joliet.splitlines()) == wanted
    # Linux lower-cases plain names and takes off the version; ours lose nothing else.
    assert set(plain.lower().splitlines()) == {line.lower() for line in wanted}
    assert nothing == ""
