"""A host is back: it gives up what it should have given up while it was away, and nothing else."""

from dataclasses import replace

import pytest

from configdrive.contract.outcome import Status
from configdrive.errors import PermanentCode, PermanentError, StaleError, TransientCode
from configdrive.lifecycle.reconcile import Attempt
from configdrive.lifecycle.state import Leftover, Phase, write
from configdrive.model import Generation, HypervisorName, ImageName, PowerState, StorageName, StoredImage
from tests.unit.documents import OTHER_UUID, Json
from tests.unit.fakes.cloud import At
from tests.unit.fakes.fleet import (
    AT_SOURCE,
    HELLO,
    HOME,
    HOST_1,
    HOST_2,
    LOCAL,
    PRIMARY,
    VM,
    Fleet,
    clean,
    fails,
    foreign_image,
    leaves,
    left_places,
    record,
    running,
    starts_elsewhere,
)

MEMORY = HypervisorName("memory")


@pytest.mark.parametrize("word", ["stop", "destroy"])
@pytest.mark.parametrize("power", [PowerState.HALTED, PowerState.RUNNING])
def test_a_host_that_is_back_gives_up_drive_and_images(local: Fleet, word: str, power: PowerState) -> None:
    leaves(local, word)
    local.power(power)
    assert fails(local).code is TransientCode.HOST_UNREACHABLE
    local.cloud.down.clear()
    after = clean(local)
    assert (local.medium(), local.generations()) == (None, [])
    assert (after.left_on, after.places) == ((), ())
    assert (after.vm is None) == (word == "destroy"), "of a VM that is gone nothing more is needed"


@pytest.mark.parametrize("power", [PowerState.HALTED, PowerState.RUNNING])
def test_a_deploy_that_finds_the_host_back_takes_the_old_image_out(local: Fleet, power: PowerState) -> None:
    """It leaves the drive as it is otherwise; but nobody asks this host for the leftover any more."""
    leaves(local)
    local.power(power)
    local.cloud.down.clear()
    assert local.send("deploy", guest=HELLO).outcome.status is Status.APPLIED
    assert local.medium() is None
    assert local.generations() == [local.known().sequence]
    assert record(local).others == ()


def test_nothing_is_taken_away_without_the_lease(local: Fleet) -> None:
    leaves(local)
    local.cloud.down.clear()
    local.lease.loses = lambda: True
    with pytest.raises(StaleError):
        clean(local)
    assert local.medium() is not None
    assert local.generations() == [2]
    local.machine.medium = None
    with pytest.raises(StaleError):
        clean(local)
    assert local.generations() == [2]


def test_cleaning_may_be_cut_off_anywhere_and_done_again(local: Fleet) -> None:
    leaves(local)
    local.cloud.down.clear()

    def killed(verb: str, at: At) -> None:
        if at is At.AFTER and verb in {"observe", "detach", "delete"}:
            local.cloud.hook = lambda _verb, _at: None
            raise KeyboardInterrupt

    for _ in range(3):
        local.cloud.hook = killed
        with pytest.raises(KeyboardInterrupt):
            clean(local)
        assert record(local).left_on == (HOST_1,)
    assert clean(local).left_on == ()
    assert (local.medium(), local.generations()) == (None, [])


def test_a_host_without_leftovers_is_not_asked_and_one_that_is_no_more_is_given_up(local: Fleet) -> None:
    leaves(local, "destroy")
    local.cloud.verbs.clear()
    assert clean(local, HOST_2) == record(local)
    local.cloud.hosts.remove(HOST_1)
    after = clean(local)
    assert (after.left_on, after.places, after.vm) == ((), (), None)
    assert local.cloud.verbs == []


def test_of_two_hosts_with_leftovers_each_is_asked_for_itself(local: Fleet) -> None:
    leaves(local)
    starts_elsewhere(local)
    local.cloud.down.add(HOST_2)
    local.send("destroy", host=HOST_2, attempt=3)
    assert record(local).left_on == (HOST_1, HOST_2)
    local.cloud.down.remove(HOST_2)
    after = clean(local, HOST_2)
    assert (after.left_on, after.vm is None, left_places(local)) == ((HOST_1,), False, {AT_SOURCE})
    local.cloud.down.clear()
    after = clean(local)
    assert (after.left_on, after.vm, after.places) == ((), None, ())
    assert local.generations() == []


def test_a_storage_of_the_host_that_is_down_is_waited_for_with_the_drive_empty_already(fleet: Fleet) -> None:
    running(fleet)
    leaves(fleet)
    fleet.machine.root = None
    fleet.cloud.down = {PRIMARY}
    after = clean(fleet)
    assert (after.left_on, left_places(fleet)) == ((HOST_1,), {HOME})
    assert fleet.medium() is None
    fleet.cloud.down.clear()
    assert clean(fleet).left_on == ()
    assert fleet.generations() == []


def test_a_storage_that_is_no_more_is_not_waited_for(local: Fleet) -> None:
    leaves(local)
    local.cloud.down.clear()
    local.machine.root = None
    local.cloud.local.remove(LOCAL)
    after = clean(local)
    assert (after.left_on, after.places) == ((), ())
    assert local.medium() is None


def test_a_storage_that_only_the_vm_s_own_host_sees_is_not_forgotten(fleet: Fleet) -> None:
    running(fleet)
    fleet.power(PowerState.HALTED)
    leaves(fleet)
    starts_elsewhere(fleet, "deploy")
    assert record(fleet).phase is Phase.STAGED
    fleet.cloud.down.clear()
    fleet.cloud.shared.remove(PRIMARY)  # as host-1 sees it from now on
    fleet.cloud.remains[0][1].root = None
    after = clean(fleet)
    assert (after.left_on, after.places) == ((), (HOME,))


def test_the_drive_of_a_vm_that_came_home_is_its_own(local: Fleet) -> None:
    medium = local.inserted()
    older = StoredImage(ImageName.of("i-2-14-VM", VM, Generation(1)), AT_SOURCE)
    local.cloud.files[older] = b"older"
    left = Leftover(MEMORY, HOST_1, places=(AT_SOURCE,), files=(older.name.file,), drive=True)
    local.remembered = write(replace(record(local), left=(left,)))
    after = clean(local)
    assert (after.left_on, after.places) == ((), (AT_SOURCE,))
    assert local.medium() == medium
    assert older not in local.cloud.files


def test_the_present_image_of_a_vm_that_was_renamed_meanwhile_stays(fleet: Fleet) -> None:
    running(fleet)
    fleet.power(PowerState.HALTED)
    leaves(fleet)
    starts_elsewhere(fleet, "deploy")
    generation = fleet.sequence
    fleet.send("update", host=None, vm={"uuid": VM, "instance_name": "i-2-15-VM"})
    fleet.cloud.down.clear()
    after = clean(fleet)
    assert (after.left_on, after.places) == ((), (HOME,))
    assert fleet.generations() == [generation]


def test_another_vm_s_image_on_the_host_is_no_business_of_ours(local: Fleet) -> None:
    other = foreign_image(local.cloud, OTHER_UUID)
    leaves(local)
    local.cloud.down.clear()
    clean(local)
    assert set(local.cloud.files) == {other}


@pytest.mark.parametrize("word", ["stop", "destroy"])
def test_an_event_that_names_a_host_that_is_not_there_takes_away_where_the_vm_is_known_to_be(
    local: Fleet, word: str
) -> None:
    settled = local.send(word, host="no-such-host")
    assert settled.outcome.status is Status.APPLIED
    assert (local.medium(), local.generations()) == (None, [])


def test_a_destroy_on_a_host_that_is_no_more_ends_and_names_what_it_left(local: Fleet) -> None:
    local.cloud.hosts.remove(HOST_1)
    outcome = local.send("destroy").outcome
    assert (outcome.status, outcome.code) == (Status.APPLIED, PermanentCode.UNKNOWN_HOST)
    assert "drive@host-1" in outcome.facts["left_behind"]


# --- another host was named, and the drive is still where it was ------------------------------------------------------


@pytest.mark.parametrize(
    "named",
    [
        ("update", {"guest": {"user_data": {"text": "new"}}}),
        ("password_reset", {}),
        ("start", {"waiting": ("destroy",)}),
        ("migrate", {"phase": "prepare", "destination": HOST_1, "waiting": ("destroy",)}),
        ("migrate", {"phase": "complete", "destination": HOST_2, "waiting": ("destroy",)}),
    ],
)
@pytest.mark.parametrize("storage", [PRIMARY, LOCAL])
def test_a_drive_goes_although_events_that_were_not_carried_out_have_named_other_hosts(
    fleet: Fleet, storage: StorageName, named: tuple[str, Json]
) -> None:
    fleet.machine.root = storage
    running(fleet)
    for host in ("host-9", HOST_2):
        fleet.send(named[0], host=host, **named[1])
    outcome = fleet.send("destroy", host=None, attempt=3).outcome
    assert outcome.status is Status.APPLIED
    for left in record(fleet).left:
        clean(fleet, left.host)
    assert (fleet.medium(), fleet.generations()) == (None, [])


def test_what_a_host_that_is_no_more_shared_is_looked_for_through_another(fleet: Fleet) -> None:
    running(fleet)
    settled = fleet.reconciler.leave(
        Attempt(fleet.event("destroy"), fleet.remembered, (), 1, fleet.lease),
        PermanentError(PermanentCode.UNCLASSIFIED, "workers died over it"),
    )
    fleet.remembered = settled.state
    fleet.cloud.hosts.discard(HOST_1)
    fleet.cloud.machines.clear()
    assert fleet.generations() == [2]
    after = clean(fleet, HOST_1)
    assert (fleet.generations(), after.left) == ([], ())
