"""What cannot be done: refused with its code, nothing half done left behind, and nothing touched without the lease."""

from collections.abc import Callable

import pytest

from configdrive.errors import FleetError, PermanentCode, PermanentError, StaleCode, TransientCode, TransientError
from configdrive.iso import build
from configdrive.lifecycle.reconcile import Attempt, Reconciler
from configdrive.model import DriveSettings
from tests.support import error_of
from tests.unit.documents import OTHER_UUID, Json
from tests.unit.fakes.cloud import At, Cloud
from tests.unit.fakes.fleet import HELLO, HOST_1, PRIMARY, VM, Fleet, foreign_image, refused, running

# --- refusals ---------------------------------------------------------------------------------------------------------


def test_another_vm_s_medium_gives_way_and_its_image_stays(fleet: Fleet) -> None:
    """A clone's definition names the image of the VM that it was cloned from: the clone must start all the same."""
    foreign = foreign_image(fleet.cloud, OTHER_UUID)
    fleet.machine.slot, fleet.machine.medium = True, foreign
    fleet.send("start", guest=HELLO)
    assert fleet.user_data() == b"hello"
    fleet.machine.medium = foreign
    fleet.send("stop")
    assert fleet.medium() is None
    assert set(fleet.cloud.files) == {foreign}, "it is its owner's to delete"


def test_an_unknown_hypervisor_is_refused_with_those_that_there_are(fleet: Fleet) -> None:
    error = refused(fleet, "start", hypervisor="hyperv")
    assert error.code is PermanentCode.UNKNOWN_HYPERVISOR
    assert "memory" in error.remedy
    lonely = Reconciler({}, fleet.sealer, fleet.namer, fleet.clock, fleet.observer, drives=DriveSettings())
    assert "none" in error_of(lonely.handle, Attempt(fleet.event("start"), None, (), 1, fleet.lease)).remedy


@pytest.mark.parametrize(
    ("break_it", "word", "data", "code"),
    [
        (lambda cloud: cloud.down.add(HOST_1), "start", {}, TransientCode.HOST_UNREACHABLE),
        (lambda cloud: cloud.down.add(PRIMARY), "start", {}, TransientCode.STORAGE_UNAVAILABLE),
        (lambda cloud: cloud.machines.clear(), "start", {}, PermanentCode.VM_NOT_FOUND),
        (lambda cloud: cloud.machines.clear(), "start", {"primary_storage": "primary"}, PermanentCode.VM_NOT_FOUND),
        (lambda cloud: setattr(cloud.machines[VM], "root", None), "start", {}, PermanentCode.STORAGE_NOT_FOUND),
        (lambda _cloud: None, "start", {"primary_storage": "no such pool"}, PermanentCode.STORAGE_NOT_FOUND),
        (lambda _cloud: None, "start", {"host": "no-such-host"}, PermanentCode.UNKNOWN_HOST),
        (lambda _cloud: None, "start", {"sealed": "v1.ffffffffffffffff.AAAA"}, PermanentCode.UNSEALABLE),
    ],
)
def test_what_cannot_be_done_leaves_nothing_half_done(
    fleet: Fleet, break_it: Callable[[Cloud], None], word: str, data: Json, code: PermanentCode
) -> None:
    break_it(fleet.cloud)
    error = refused(fleet, word, **data)
    assert error.code is code
    assert error.detail
    assert fleet.generations() == []


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (PermanentError(PermanentCode.NO_FREE_SLOT, "no free slot"), []),
        (TransientError(TransientCode.DRIVE_LOCKED, "the guest holds the tray"), [1]),  # it may pass by itself
    ],
)
def test_an_image_that_was_brought_and_cannot_be_attached_goes_again_unless_the_next_attempt_may_attach_it(
    fleet: Fleet, error: FleetError, left: list[int]
) -> None:
    fleet.breaks("attach", error)
    assert refused(fleet, "start").code is error.code
    assert fleet.generations() == left


def test_the_first_error_is_reported_when_taking_the_image_away_fails_too(fleet: Fleet) -> None:
    def broken(verb: str, at: At) -> None:
        if verb == "attach":
            raise PermanentError(PermanentCode.NO_FREE_SLOT, "no free slot")
        if verb == "delete" and at is At.BEFORE:
            raise TransientError(TransientCode.STORAGE_UNAVAILABLE, "away")

    fleet.cloud.hook = broken
    assert refused(fleet, "start").code is PermanentCode.NO_FREE_SLOT


def test_content_that_is_too_large_is_refused_before_anything_is_uploaded(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the events may be small enough where the drive that they make together is not."""
    monkeypatch.setattr(build, "MAX_BYTES", 2**20)
    fleet.send("deploy", guest={"user_data": {"text": "x" * 600_000}})
    fleet.send("update", guest={"metadata": {"extra": {f"key{n}": str(n).ljust(30_000) for n in range(8)}}})
    fleet.cloud.verbs.clear()
    assert refused(fleet, "start").code is PermanentCode.CONTENT_TOO_LARGE
    assert fleet.cloud.verbs == ["observe"]


def test_nothing_of_a_drive_is_shown_or_remembered_in_the_clear(fleet: Fleet) -> None:
    secret = "sw0rdfish"
    running(fleet, guest={"password": secret, "user_data": {"text": secret}, "metadata": {"extra": {"k": secret}}})
    fleet.send("password_reset", guest={"password": secret})
    settled = fleet.send("update", apply="now")
    assert secret not in settled.outcome.to_json()
    assert fleet.remembered is not None
    assert secret not in fleet.remembered
    assert secret not in repr(fleet.observer.records)


# --- the lease --------------------------------------------------------------------------------------------------------


CHANGES = {"upload", "copy", "attach", "detach", "delete"}


@pytest.mark.parametrize("after", range(3))
def test_a_worker_that_has_lost_its_lease_changes_nothing_more(fleet: Fleet, after: int) -> None:
    fleet.send("deploy")
    fleet.cloud.verbs.clear()
    fleet.lease.loses = lambda: sum(verb in CHANGES for verb in fleet.cloud.verbs) == after
    assert error_of(fleet.send, "start").code is StaleCode.LEASE_LOST
    assert [verb for verb in fleet.cloud.verbs if verb in CHANGES] == ["upload", "attach", "delete"][:after]


def test_the_lease_is_asked_for_before_each_change_and_not_for_looking(fleet: Fleet) -> None:
    running(fleet)
    fleet.send("stop")
    intended = 2  # once for the deploy and once for the start; a stop intends nothing
    assert fleet.lease.checks == intended + sum(verb in CHANGES for verb in fleet.cloud.verbs)


def test_a_worker_that_lost_its_lease_does_not_even_take_away_what_it_brought(fleet: Fleet) -> None:
    def fails(verb: str, at: At) -> None:
        if verb == "attach" and at is At.BEFORE:
            fleet.lease.loses = lambda: True
            raise PermanentError(PermanentCode.NO_FREE_SLOT, "no free slot")

    fleet.cloud.hook = fails
    with pytest.raises(PermanentError):
        fleet.send("start")
    assert fleet.generations() == [1]
    assert "delete" not in fleet.cloud.verbs
