"""Lenient events: a bad value is left out, the outcome says which and why, and what must not be left out is refused."""

import json
from typing import Any

import pytest

from configdrive.contract.events import parse
from configdrive.contract.sealing import guest_of
from tests.support import error_of
from tests.unit.documents import document
from tests.unit.fakes.fleet import Fleet
from tests.unit.fakes.small import FakeSealer

BAD: dict[str, Any] = {
    "metadata": {"availability_zone": "a\nb", "vm_id": "14", "extra": {"team": "web", "note": "a\x00b"}},
    "user_data": {"text": "hello"},
    "password": "swordfish",
}
WHY = "metadata.availability_zone: has a control character"


def start(sealed: str | None = None, **data: object) -> str:
    content = {"guest": BAD} if sealed is None else {"sealed": sealed}
    return json.dumps(document("start", **{"sequence": 1, **content, **data}))


@pytest.mark.parametrize("lines", [None, 2], ids=["in one line", "in several"])
@pytest.mark.parametrize("is_sealed", [False, True])
def test_only_the_bad_values_are_missing_and_the_outcome_says_so(*, is_sealed: bool, lines: int | None) -> None:
    fleet = Fleet()
    plain = parse(start(lenient=True))
    context = f"{plain.data.vm.uuid}/{plain.id}"
    sealed = FakeSealer().seal(json.dumps(BAD, indent=lines).encode(), context) if is_sealed else None
    settled = fleet.handle(parse(start(sealed, lenient=True)))
    meta = json.loads(fleet.files()["openstack/latest/meta_data.json"])
    assert (meta["meta"]["team"], "availability_zone" in meta) == ("web", False)
    assert (fleet.user_data(), fleet.password()) == (b"hello", "swordfish")
    assert settled.outcome.facts["left_out"].startswith(WHY)
    assert "metadata.extra" in settled.outcome.facts["left_out"]


@pytest.mark.parametrize(
    "bad",
    [
        {"guest": {"password": "two\nlines"}},
        {"guest": {"user_data": {"base64": "!"}}},
        {"vm": {"uuid": "nobody", "instance_name": "i-2-14-VM"}},
        {"guest": {"unknown": 1}},
        {"guest": BAD, "lenient": False},
    ],
)
def test_what_is_never_left_out_refuses_the_event(bad: dict[str, Any]) -> None:
    assert error_of(parse, start(**{"lenient": True, **bad})).code == "invalid_event"


def test_a_bad_nic_takes_the_network_file_with_it_also_one_that_was_known() -> None:
    event = parse(start(lenient=True, guest={"nics": [{"mac": "no"}]}))
    guest = guest_of(event, FakeSealer())
    assert guest.model_fields_set == {"nics"}
    assert guest.nics is None


@pytest.mark.parametrize("is_sealed", [False, True])
def test_however_many_values_are_bad_the_others_arrive(*, is_sealed: bool) -> None:
    guest = {"metadata": {"extra": {"good": 1} | {f"bad-{number}": "\x00" for number in range(700)}}}
    plain = parse(start(lenient=True))
    sealed = FakeSealer().seal(json.dumps(guest).encode(), f"{plain.data.vm.uuid}/{plain.id}") if is_sealed else None
    fleet = Fleet()
    content = {"sealed": sealed} if is_sealed else {"guest": guest}
    said = fleet.handle(parse(json.dumps(document("start", sequence=1, lenient=True, **content))))
    assert fleet.files()["cloudstack/metadata/good.txt"] == b"1"
    assert said.outcome.facts["left_out"].endswith("; and 636 more")
