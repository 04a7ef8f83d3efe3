from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configdrive.model import Generation, ImageName, InstanceName, VmUuid
from workers.hypervisors.xenserver.names import image_at, location_of
from workers.hypervisors.xenserver.slots import device_name

UUID = VmUuid("01234567-89ab-cdef-0123-456789abcdef")
XAPIS_RULE = re.compile(r"[a-z0-9.-]+\.(iso|img)")

instances = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True).map(InstanceName)
names = st.builds(
    ImageName.of, instances, st.uuids().map(lambda one: VmUuid(str(one))), st.integers(0, 10**15).map(Generation)
)


def test_a_cloudstack_name_stays_readable() -> None:
    name = ImageName.of(InstanceName("i-2-14-VM"), UUID, Generation(7))
    assert location_of(name) == f"cd-i-2-14-.v.m.{UUID}.7.iso"


@given(names)
def test_every_name_comes_back_as_it_was(name: ImageName) -> None:
    assert image_at(location_of(name)) == name


@given(names)
def test_every_location_keeps_xapi_s_rule_to_its_end_and_fits_a_file_name(name: ImageName) -> None:
    location = location_of(name)
    assert XAPIS_RULE.fullmatch(location)
    assert location == location.lower()
    assert len(location) <= 255


@given(names, names)
def test_two_names_never_share_a_location(one: ImageName, other: ImageName) -> None:
    assert (location_of(one) == location_of(other)) == (one == other)


@given(st.text(alphabet="abcVM._-0123456789", max_size=40))
def test_what_is_read_as_an_image_is_spelled_just_so(text: str) -> None:
    location = f"cd-{text}.{UUID}.1.iso"
    name = image_at(location)
    assert name is None or location_of(name) == location


@pytest.mark.parametrize(
    "location",
    [
        "",
        "debian-12.iso",
        f"cd-.{UUID}.1.iso",
        f"cd-a.{UUID}.01.iso",
        f"cd-a.{UUID}.1.iso\n",
        f"cd-a.{UUID}.1.iso/../../b.iso",
        f"cd-a.{UUID}.1.iso.part",
        f"cd-A.{UUID}.1.iso",
        f"cd-a_b.{UUID}.1.iso",
        f"cd-a..{UUID}.1.iso",
        f"cd-.a.{UUID.upper()}.1.iso",
        f"cd-.1.{UUID}.1.iso",
        f"i-2-14-.v.m.{UUID}.1.iso",
        f"i-2-14-VM.{UUID}.1.iso",
    ],
)
def test_what_is_not_ours_is_no_image(location: str) -> None:
    assert image_at(location) is None


@pytest.mark.parametrize(
    ("userdevice", "name"), [("0", "xvda"), ("4", "xvde"), ("25", "xvdz"), ("26", "26"), ("autodetect", "autodetect")]
)
def test_a_slot_is_called_as_the_guest_calls_it(userdevice: str, name: str) -> None:
    assert device_name(userdevice) == name
