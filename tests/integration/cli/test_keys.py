import json
import shutil
from collections.abc import Callable
from copy import copy
from pathlib import Path

import pytest

from configdrive.errors import PermanentCode
from configdrive.model import HostName, HypervisorName, InstanceName, Vm, VmUuid
from rigs.cloud import HOST, VmScript
from tests.contract.rig import make_image
from tests.integration.cli.place import PASSWORD, Place
from tests.support import error_of
from workers.cli.errors import ExitCode
from workers.config.inventory import read_inventory
from workers.driverkit.load import make_driver
from workers.worker import requirements

GUEST = {"password": PASSWORD}
SIMULATED = HypervisorName("simulated")


def sealed(place: Place) -> list[int]:
    return [row["sealed_boxes"] for row in place.json("keys", "list", "--usage")["keys"]]


def test_a_key_is_kept_while_anything_is_sealed_with_it_and_all_can_be_sealed_anew(
    quiet_place: Callable[..., Place], vm: VmScript
) -> None:
    place, parked = quiet_place(), VmScript()
    place.store(vm.event("deploy", guest=GUEST))
    place.run("keys", "rotate")
    old, new = (row["id"] for row in place.json("keys", "list")["keys"])
    assert sealed(place) == [1, 0]
    refused_for_event = place.run("keys", "retire", old)
    assert refused_for_event.exit_code == ExitCode.FAILED
    assert f"1 VMs still need key {old}: {vm.uuid}" in refused_for_event.stderr
    with place.with_worker():
        place.outcome(vm.event("update", guest={"metadata": {"vm_id": "7"}}))
        assert sealed(place)[0] == 0, "the state is sealed anew with each event"
        assert place.run("keys", "retire", old).exit_code == ExitCode.DONE
        assert sealed(place)[0] >= 1

        place.parked(parked, guest=GUEST)
        place.run("keys", "rotate")
        left = place.json("keys", "reseal", code=ExitCode.FAILED)
        assert parked.uuid in str(left["left"])
        assert vm.uuid not in str(left["left"])
        place.run("skip", parked.uuid, "--yes")
        place.run("keys", "reseal")
        assert place.json("keys", "reseal")["sealed_anew"] == 0
        assert place.run("keys", "retire", new).exit_code == ExitCode.DONE
        assert place.outcome(vm.event("start"))["facts"]["password"] == "on_drive"


def test_every_sealed_box_of_a_state_is_counted(place: Place, vm: VmScript) -> None:
    place.run("keys", "generate")  # others here may have made it before
    before = sum(sealed(place))
    for event, more in (
        (vm.event("deploy", guest={"metadata": {"vm_id": "7"}}), 1),  # what the drive says
        (vm.event("start", guest=GUEST), 2),  # the password on the drive
        (vm.event("password_reset", guest=GUEST), 3),  # the one for the next start
        (vm.event("destroy"), 0),
    ):
        place.outcome(event)
        assert sum(sealed(place)) - before == more


def test_what_a_lost_key_has_sealed_is_counted(quiet_place: Callable[..., Place], vm: VmScript) -> None:
    place = quiet_place()
    place.store(vm.event("deploy", guest=GUEST))
    place.run("keys", "rotate")
    old = place.json("keys", "list")["keys"][0]["id"]

    assert place.run("keys", "retire", old, "--force").exit_code == ExitCode.DONE
    assert "1 sealed boxes need a key that is not in the file" in place.run("keys", "list", "--usage").stderr


def with_keys(place: Place, keys: Path) -> Place:
    """Return another machine of the fleet, with a key file of its own, or none."""
    other = copy(place)
    other.environment = {**place.environment, "CONFIGDRIVE_KEYS_FILE": str(keys)}
    return other


def seals(place: Place, vm: VmScript) -> int:
    """Publish an event whose content is sealed; returns the exit code."""
    return place.store(vm.event("update", guest=GUEST)).exit_code


def said_of_keys(place: Place) -> dict[str, str]:
    """Return what doctor says of the fleet's keys."""
    found = json.loads(place.run("doctor", "--json").stdout)["findings"]
    return next(one for one in found if one["subject"] == "fleet keys")


@pytest.fixture
def founded(quiet_place: Callable[..., Place]) -> Place:
    """A fleet whose first worker has begun, and made its key."""
    place = quiet_place()
    requirements(place.fleet.settings, place.fleet.mailbox.client, SIMULATED)()
    return place


@pytest.mark.parametrize("has_a_key", [False, True], ids=["none", "its own"])
def test_who_has_none_of_the_fleets_keys_does_not_seal_until_the_remedy_is_followed(
    founded: Place, vm: VmScript, *, has_a_key: bool
) -> None:
    (first,) = (row["id"] for row in founded.json("keys", "list")["keys"])
    keys = founded.fleet.directory / "others.json"
    other = with_keys(founded, keys)
    if has_a_key:
        other.run("keys", "generate")
    before = keys.read_bytes() if has_a_key else None

    refused, plain = other.store(vm.event("deploy", guest=GUEST)), other.store(vm.event("stop"))
    found = said_of_keys(other)

    assert (refused.exit_code, plain.exit_code, found["level"]) == (ExitCode.FAILED, ExitCode.DONE, "fail")
    assert "configdrive keys public" in refused.stderr
    assert first in found["detail"]
    assert (keys.read_bytes() if keys.exists() else None) == before

    shutil.copy(founded.fleet.settings.keys_file, keys)  # the remedy
    assert (seals(other, vm), said_of_keys(other)["level"]) == (ExitCode.DONE, "ok")


def test_a_worker_with_a_new_key_file_ends_until_a_person_says_that_the_old_one_is_lost(founded: Place) -> None:
    (first,) = (row["id"] for row in founded.json("keys", "list")["keys"])
    founded.fleet.settings.keys_file.unlink()
    founded.run("keys", "generate")
    ended = founded.process("worker", "--hypervisor", "simulated", "--pool", "solo")

    assert (ended.returncode, f"({first})" in ended.stderr) == (ExitCode.MISCONFIGURED, True)
    assert founded.run("keys", "enroll").exit_code == ExitCode.DONE
    requirements(founded.fleet.settings, founded.fleet.mailbox.client, SIMULATED)()
    assert founded.run("keys", "retire", first, "--force").exit_code == ExitCode.DONE
    assert said_of_keys(founded)["level"] == "ok"


def test_the_ids_on_redis_follow_a_rotation_and_what_is_sealed_for_no_key_of_the_fleet_is_refused(
    founded: Place, vm: VmScript
) -> None:
    home = founded.fleet.directory
    stranger, old_file = (with_keys(founded, home / name) for name in ("stranger.json", "old.json"))
    stranger.run("keys", "generate")
    options = ("--vm", vm.uuid, "--name", vm.name, "--hypervisor", "simulated", "--sequence", "1", "--host", "h1")
    sealed = stranger.run("event", "deploy", *options, "--password-file", "-", stdin=PASSWORD).stdout
    (refused,) = founded.lines("publish", "-", stdin=sealed, code=ExitCode.FAILED)

    shutil.copy(founded.fleet.settings.keys_file, home / "old.json")
    (old,) = (row["id"] for row in founded.json("keys", "list")["keys"])
    founded.run("keys", "rotate")
    assert (seals(old_file, vm), said_of_keys(old_file)["level"]) == (ExitCode.DONE, "warn")
    for lacking, name in ((old_file, "old.json"), (stranger, "stranger.json")):  # a copy would take a key from others
        before = (home / name).read_bytes()
        assert lacking.run("keys", "rotate").exit_code == ExitCode.MISCONFIGURED
        assert (home / name).read_bytes() == before
    founded.run("keys", "retire", old, "--force")
    assert (seals(old_file, vm), said_of_keys(old_file)["level"]) == (ExitCode.FAILED, "fail")
    assert (refused["code"], old in refused["detail"]) == ("unsealable", True)


def test_after_a_loss_of_redis_a_worker_without_key_file_makes_no_key_where_images_lie(
    founded: Place, vm: VmScript, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, client = founded.fleet.settings, founded.fleet.mailbox.client
    driver = make_driver(settings, SIMULATED, read_inventory(settings.inventory))
    its = Vm(VmUuid(vm.uuid), InstanceName(vm.name), SIMULATED, HostName(HOST))
    there = driver.observe(its).storage
    assert there is not None
    driver.upload(its, make_image(its), there)
    for name, value in founded.environment.items():
        monkeypatch.setenv(name, value)

    client.delete(*client.keys(f"{settings.key_prefix}*"))
    kept = settings.keys_file.rename(settings.keys_file.with_name("kept.json"))
    error = error_of(requirements(settings, client, SIMULATED))
    assert (error.code, vm.uuid in error.detail, HOST in error.detail) == (PermanentCode.MISCONFIGURED, True, True)
    assert not settings.keys_file.exists()
    kept.rename(settings.keys_file)  # the remedy
    requirements(settings, client, SIMULATED)()
