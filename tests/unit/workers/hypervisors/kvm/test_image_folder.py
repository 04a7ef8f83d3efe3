"""Folders within a storage's: a VM's images always lie in the same one, and few VMs' in each."""

import uuid
from collections import Counter

import pytest

pytest.importorskip("libvirt")

from configdrive.model import VmUuid
from workers.hypervisors.kvm.image_folder import shard_of


def test_a_vm_s_images_lie_in_the_same_folder_for_ever() -> None:
    """Drives name the path: a version that reckons otherwise finds none of them."""
    assert shard_of(VmUuid("6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10")) == "00"


@pytest.mark.parametrize("version", [1, 4], ids=["made by one machine", "made at random"])
def test_images_are_spread_whatever_their_vms_uuids_have_in_common(version: int) -> None:
    made = [
        uuid.uuid1(0x525400123456, number) if version == 1 else uuid.UUID(int=number << 64) for number in range(1000)
    ]
    files = Counter(shard_of(VmUuid(str(one))) for one in made)
    assert len(files) == 32
    assert max(files.values()) < 60
