from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configdrive.model import Generation, ImageName, VmUuid
from workers.hypervisors.xenserver.slots import device_name

XAPIS_RULE = re.compile(r"[a-z0-9.-]+\.(iso|img)")


@given(st.text(max_size=80), st.uuids(), st.integers(0, 10**15))
def test_every_image_s_name_is_one_that_the_iso_driver_takes(instance: str, uuid: object, generation: int) -> None:
    name = ImageName.of(instance, VmUuid(str(uuid)), Generation(generation), "a" * 16, "b" * 8)
    assert XAPIS_RULE.fullmatch(name.file)
    assert ImageName.parse(name.file) == name


@pytest.mark.parametrize(
    ("userdevice", "name"), [("0", "xvda"), ("4", "xvde"), ("25", "xvdz"), ("26", "26"), ("autodetect", "autodetect")]
)
def test_a_slot_is_called_as_the_guest_calls_it(userdevice: str, name: str) -> None:
    assert device_name(userdevice) == name
