"""Identity and intent: the right VM, the right image, and nothing left behind by an attempt that never ended."""

from typing import Any

import pytest

from configdrive.contract.outcome import Status
from configdrive.errors import PermanentCode, TransientCode, TransientError
from configdrive.lifecycle.reconcile import Reconciler
from configdrive.lifecycle.verify import Verifier
from configdrive.model import DriveSettings, HostName, HypervisorName, Intent, PowerState
from tests.support import error_of
from tests.unit.fakes.cloud import At, Cloud, Machine, MemoryDriver
from tests.unit.fakes.fleet import AT_SOURCE, HELLO, HOST_1, HOST_2, VM, Fleet, record, refused, running

FIRST = {"user_data": {"text": "FIRST"}, "password": "PasswordAAA"}
SECOND = {"user_data": {"text": "SECOND"}, "password": "PasswordBBB"}


def dies_after(fleet: Fleet, verb: str, word: str, **data: Any) -> None:  # noqa: ANN401 - fields of an event
    """Have a worker die over an event when the hypervisor has done a verb."""
    fleet.breaks(verb, KeyboardInterrupt(), At.AFTER)
    with pytest.raises(KeyboardInterrupt):
        fleet.send(word, **data)
    fleet.mended()


# --- the right image --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("remembered", [True, False], ids=["skipped", "Redis is lost"])
def test_a_start_with_a_number_that_was_used_puts_its_own_content_into_the_drive(
    fleet: Fleet, *, remembered: bool
) -> None:
    fleet.send("start", guest=HELLO)
    dies_after(fleet, "attach", "start", sequence=2, guest=FIRST)
    assert fleet.password() == "PasswordAAA"
    if not remembered:
        fleet.remembered, fleet.lease.intents = None, []
    settled = fleet.handle(fleet.event("start", sequence=2, guest=SECOND))
    assert (settled.outcome.status, settled.outcome.facts["attach"]) == (Status.APPLIED, "inserted")
    assert (fleet.password(), fleet.user_data()) == ("PasswordBBB", b"SECOND")
    assert fleet.generations() == [2]


def test_after_a_key_was_rotated_the_image_has_another_name_and_the_old_one_goes(fleet: Fleet) -> None:
    running(fleet)
    before = fleet.inserted()
    fleet.namer.key = "rotated"
    fleet.send("start")
    after = fleet.inserted()
    assert before.name.fingerprint != after.name.fingerprint
    image = fleet.known().image
    assert image is not None
    assert image.file == after.name.file
    assert set(fleet.cloud.images_of(VM)) == {after}
    fleet.send("stop")
    assert fleet.generations() == []


# --- intents ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", [None, "second"])
@pytest.mark.parametrize("host", [HOST_1, HOST_2])
def test_a_destroy_takes_away_what_an_attempt_brought_that_never_ended(
    fleet: Fleet, storage: str | None, host: HostName
) -> None:
    """The VM is undefined meanwhile, or is defined on another host."""
    dies_after(fleet, "upload", "deploy", start=True, guest=FIRST, primary_storage=storage)
    assert len(fleet.generations()) == 1
    del fleet.cloud.machines[VM]
    settled = fleet.send("destroy", host=host)
    assert settled.outcome.status is Status.APPLIED
    assert fleet.generations() == []
    assert fleet.lease.intents == []


def test_a_destroy_without_a_host_finds_what_only_an_intent_knows(fleet: Fleet) -> None:
    dies_after(fleet, "attach", "start", guest=FIRST)
    assert fleet.remembered is None
    assert fleet.send("destroy", host=None).outcome.status is Status.APPLIED
    assert (fleet.medium(), fleet.generations()) == (None, [])


def test_what_a_failed_prepare_copied_goes_with_the_stop(local: Fleet) -> None:
    local.breaks("copy", TransientError(TransientCode.HYPERVISOR_ERROR, "what a copy did is not known"), At.AFTER)
    refused(local, "migrate", phase="prepare", host=None)
    local.mended()
    assert len(local.generations()) == 2
    local.send("stop", host=None)
    assert local.generations() == []


def test_the_intent_is_written_before_anything_is_brought(fleet: Fleet) -> None:
    seen: list[int] = []

    def hook(verb: str, at: At) -> None:
        if (verb, at) == ("upload", At.BEFORE):
            seen.append(len(fleet.lease.intents))

    fleet.cloud.hook = hook
    fleet.send("start", guest=FIRST)
    assert seen == [1]
    assert fleet.lease.intents == [], "an event that ends gives them back"


# --- hosts, hypervisors, drives ---------------------------------------------------------------------------------------


def test_a_second_name_of_one_host_is_the_same_host(fleet: Fleet) -> None:
    """vSphere: `esx-01` and the cluster that it is in."""
    alias = HostName("cluster-01")
    fleet.cloud.hosts.add(alias)
    fleet.cloud.aliases[alias] = HOST_1
    running(fleet)
    settled = fleet.send("start", host=alias)
    assert settled.outcome.status is Status.APPLIED
    assert fleet.user_data() == b"hello"


def test_a_host_that_was_renamed_in_the_inventory_is_found_by_what_it_says_of_itself(fleet: Fleet) -> None:
    running(fleet)
    new = HostName("host-1-new")
    fleet.cloud.hosts = {new, HOST_2}
    fleet.cloud.aliases[new] = HOST_1
    settled = fleet.send("stop", host=None)
    assert (settled.outcome.status, settled.outcome.code) == (Status.APPLIED, None)
    assert (fleet.medium(), fleet.generations()) == (None, [])


@pytest.mark.parametrize("word", ["stop", "destroy"])
def test_what_takes_away_cleans_the_host_that_is_remembered_as_well_as_the_one_that_is_named(
    local: Fleet, word: str
) -> None:
    local.power(PowerState.HALTED)
    settled = local.send(word, host=HOST_2)
    assert (settled.outcome.status, "left_behind" in settled.outcome.facts) == (Status.APPLIED, False)
    assert (local.medium(), local.generations()) == (None, [])


class OtherDriver(MemoryDriver):
    name = HypervisorName("other")


def two_hypervisors(fleet: Fleet) -> Cloud:
    """Give the fleet another hypervisor, to which the VM has just come; returns that."""
    cloud = Cloud()
    cloud.machines[VM] = Machine(HOST_1, fleet.machine.root)
    drivers = {fleet.driver.name: fleet.driver, OtherDriver.name: OtherDriver(cloud)}
    fleet.reconciler = Reconciler(
        drivers, fleet.sealer, fleet.namer, fleet.clock, fleet.observer, drives=DriveSettings()
    )
    return cloud


@pytest.mark.parametrize("away", [True, False])
def test_a_vm_that_changes_its_hypervisor_leaves_nothing_in_the_old_drive(fleet: Fleet, *, away: bool) -> None:
    running(fleet)
    old = fleet.machine
    cloud = two_hypervisors(fleet)
    if away:
        fleet.cloud.down.add(HOST_1)
    settled = fleet.send("start", hypervisor="other")
    assert settled.outcome.status is Status.APPLIED
    assert cloud.medium(VM) is not None
    if away:
        assert settled.outcome.facts["left_behind"] == "drive@host-1, primary@shared"
        assert [(one.hypervisor, one.host) for one in settled.left] == [("memory", HOST_1)]
    else:
        assert (old.medium, fleet.cloud.images_of(VM), settled.left) == (None, set(), ())


def test_what_the_very_first_attempt_has_brought_to_another_hypervisor_is_not_forgotten(local: Fleet) -> None:
    local.remembered = None
    cloud = two_hypervisors(local)
    local.lease.intents = [Intent(HOST_1, "id-host-1", AT_SOURCE, local.inserted().name.file, local.driver.name)]
    settled = local.send("start", hypervisor="other")
    assert (settled.outcome.status, cloud.medium(VM) is not None) == (Status.APPLIED, True)
    assert [(one.hypervisor, one.host) for one in settled.left] == [("memory", HOST_1)]
    assert "drive@host-1" in settled.outcome.facts["left_behind"]


def test_what_is_on_another_hypervisor_is_not_forgotten_when_the_vm_is_verified(fleet: Fleet) -> None:
    two_hypervisors(fleet)
    fleet.send("start", hypervisor="other")
    fleet.lease.intents = [Intent(HOST_1, "id-host-1", AT_SOURCE, "vm.iso", fleet.driver.name)]
    driver = OtherDriver(two_hypervisors(fleet))
    verifier = Verifier({driver.name: driver}, fleet.sealer, fleet.namer, fleet.observer, DriveSettings())
    done = verifier.verify(VM, fleet.remembered, tuple(fleet.lease.intents), fleet.lease)
    assert [(one.hypervisor, one.host, one.files) for one in done.left] == [("memory", HOST_1, ("vm.iso",))]


def test_the_user_s_own_drive_is_emptied_and_stays(fleet: Fleet) -> None:
    fleet.machine.slot = fleet.machine.found = True
    running(fleet)
    fleet.send("stop")
    assert (fleet.machine.slot, fleet.machine.medium) == (True, None)


def test_a_drive_that_was_added_goes_with_the_stop_also_after_a_second_start(fleet: Fleet) -> None:
    running(fleet)
    fleet.send("start")
    assert fleet.known().added == "cd"
    fleet.send("stop")
    assert fleet.machine.slot is False
    assert fleet.known().added is None


# --- verification -----------------------------------------------------------------------------------------------------


def verify(fleet: Fleet) -> None:
    verifier = Verifier({fleet.driver.name: fleet.driver}, fleet.sealer, fleet.namer, fleet.observer, DriveSettings())
    done = verifier.verify(VM, fleet.remembered, tuple(fleet.lease.intents), fleet.lease)
    fleet.remembered = done.state or fleet.remembered
    fleet.lease.intents = [one for one in fleet.lease.intents if one not in done.intents]


@pytest.mark.parametrize("word", ["stop", "destroy"])
def test_an_image_that_a_frozen_worker_uploads_after_the_end_goes(local: Fleet, word: str) -> None:
    late, bytes_ = local.inserted(), local.content()
    local.send(word)
    local.cloud.files[late] = bytes_
    local.machine.medium = late
    local.lease.intents = [Intent(HOST_1, "id-host-1", AT_SOURCE, late.name.file, local.driver.name)]
    verify(local)
    assert (local.medium(), local.generations()) == (None, [])


def test_a_drive_that_a_frozen_worker_emptied_is_filled_again(local: Fleet) -> None:
    before = local.cloud.medium(VM)
    local.machine.medium = None
    local.cloud.files.clear()
    verify(local)
    assert local.cloud.medium(VM) == before, "the same content at the same time gives the same bytes"
    assert record(local).phase == "attached"


def test_a_vm_of_which_nothing_is_known_needs_no_verification(fleet: Fleet) -> None:
    verify(fleet)
    assert fleet.remembered is None


def test_what_cannot_be_verified_now_is_refused_with_the_cause(local: Fleet) -> None:
    local.cloud.down.add(HOST_1)
    with pytest.raises(TransientError):
        verify(local)
    local.remembered = local.remembered and local.remembered.replace('"memory"', '"gone"')
    assert error_of(verify, local).code is PermanentCode.UNKNOWN_HYPERVISOR
