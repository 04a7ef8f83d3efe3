"""Where a config drive goes: a CD where the guest sees one, a disk where there is no room, never the user's place."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configdrive.errors import PermanentCode, PermanentError
from configdrive.model import Generation, ImageName, Presentation, VmUuid
from workers.hypervisors.xenserver.names import VM_MARK
from workers.hypervisors.xenserver.records import VbdRecord
from workers.hypervisors.xenserver.slots import device_name, goal_of

VM = VmUuid("6f1d2c3b-5a41-4c58-9d0e-3f7c1b2a9d10")
AUTO, CDROM, DISK = Presentation

FULL = [f"D{place}" for place in range(16)]

CASES: list[tuple[str, Presentation, bool, str | None]] = [
    ("D0", AUTO, True, "C2"),
    ("D0 D1", AUTO, True, "C2"),
    ("D0 D2", AUTO, True, "C1"),
    ("D0 Dxvdc", AUTO, True, "C1"),
    ("D0 D1 D2", AUTO, True, "D15"),
    ("D0 D1 D2 D15", AUTO, True, "D14"),
    ("D0 C3", AUTO, True, "C2"),
    ("D0 C3", AUTO, False, "D15"),
    ("D0 D1 D2 C3", AUTO, True, "D15"),
    ("D0 m4", AUTO, False, "C2"),
    ("D0 C3", CDROM, False, "C2"),
    ("D0 D2 C3", CDROM, False, "C1"),
    ("D0 D1 D2", CDROM, True, None),
    ("D0", DISK, True, "D15"),
    (" ".join(FULL[:5] + FULL[6:]), AUTO, True, "D5"),
    (" ".join(FULL), AUTO, True, None),
]


def vbd(text: str) -> VbdRecord:
    """A drive: `D` a disk, `C` a user's CD, `m` a CD with a fleet's mark, and its place."""
    return VbdRecord(
        ref=text,
        uuid=text,
        vm="VM",
        vdi="VDI",
        userdevice=text[1:],
        bootable=False,
        mode="RW",
        kind="Disk" if text[0] == "D" else "CD",
        empty=False,
        currently_attached=False,
        other_config={VM_MARK: VM} if text[0] == "m" else {},
    )


@pytest.mark.parametrize(("drives", "wanted", "second_cd", "right"), CASES)
def test_where_it_goes(drives: str, wanted: Presentation, second_cd: bool, right: str | None) -> None:  # noqa: FBT001
    stay = [vbd(drive) for drive in drives.split()]
    if right is None:
        with pytest.raises(PermanentError) as caught:
            goal_of(stay, VM, wanted, second_cd=second_cd)
        assert caught.value.code is PermanentCode.NO_FREE_SLOT
        return
    goal = goal_of(stay, VM, wanted, second_cd=second_cd)
    assert f"{goal.kind[0]}{goal.place}" == right


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
