import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from configdrive.errors import TransientCode
from configdrive.model import HostName, StorageName
from rigs.cloud import HOST, STORAGE, VmScript, plain
from rigs.simulated.faults import Raise
from tests.integration.cli.place import FLEET, PASSWORD, USER_DATA, Place
from tests.support import wait_until
from workers.cli.errors import ExitCode
from workers.hypervisors.simulated.inventory import Verb

GUEST = {"password": PASSWORD, "user_data": {"text": USER_DATA}}
STRANGER = "999999.iso"


def started(place: Place, vm: VmScript) -> str:
    """Deploy and start a VM; returns its image."""
    assert place.outcome(vm.event("deploy", start=True, guest=GUEST))["status"] == "applied"
    return vm.image()


def put_file(place: Place, name: str) -> Path:
    """Put a file beside the images, past the fleet."""
    path = place.cloud.world.topology.storage(HostName(HOST), StorageName(STORAGE)).folder / name
    path.write_bytes(bytes(2048))
    return path


def of(found: Any, vm: VmScript) -> dict[str, dict[str, Any]]:  # noqa: ANN401 - what the command prints
    """Return what a sweep says of one VM's images; other tests have theirs in the same place."""
    rows = [{**row, "image": plain(row["image"])} for row in found["images"] if row["vm_uuid"] == vm.uuid]
    return {row["image"]: row for row in rows}


def row_of(text: str, name: str) -> str:
    """Return the line of a table that has an image, whose name may be one without fingerprint and fleet."""
    return next(line for line in text.splitlines() if name in plain(line))


def test_what_no_vm_needs_goes_and_is_reported(place: Place, vm: VmScript) -> None:
    current = started(place, vm)
    orphan, stranger = put_file(place, vm.image(0)), put_file(place, STRANGER)
    looked = of(place.json("sweep", "--dry-run"), vm)
    shown, everything = (place.run("sweep", "--dry-run", *more).stdout for more in ((), ("--all",)))

    assert looked[vm.image(0)] == {
        "image": vm.image(0),
        "vm_uuid": vm.uuid,
        "storage": STORAGE,
        "storage_host": looked[current]["storage_host"],
        "goes": True,
        "why": "old",
        "deleted": False,
        "error": None,
    }
    assert (looked[current]["goes"], looked[current]["why"]) == (False, "in_drive")
    row = row_of(shown, orphan.name)
    assert row.split()[0] == "goes"
    assert "an older image of its VM" in row
    assert f"{STORAGE}@" in row
    assert current not in plain(shown)
    assert "1 would go; nothing was deleted" in shown
    assert row_of(everything, current).split()[0] == "stays"
    assert "in a VM's drive" in row_of(everything, current)
    assert orphan.exists()

    swept = of(place.json("sweep"), vm)
    assert swept == {**looked, vm.image(0): {**looked[vm.image(0)], "deleted": True}}
    assert not orphan.exists()
    assert stranger.exists()
    put_file(place, vm.image(0))
    again = place.run("sweep")
    assert "1 of 1 deleted" in again.stdout
    assert row_of(again.stdout, orphan.name).split()[0] == "deleted"
    assert again.exit_code == ExitCode.DONE
    assert place.cloud.medium(vm.uuid) == current
    assert list(of(place.json("sweep"), vm)) == [current]


def test_an_image_that_is_nobody_s_goes_after_its_time(quiet_place: Callable[..., Place], vm: VmScript) -> None:
    place = quiet_place()
    orphan, others = (put_file(place, signed(vm.image(3), fleet)) for fleet in (FLEET, "another2"))
    name = vm.image(3)

    def why() -> set[str]:
        return {row["why"] for row in place.json("sweep", "--dry-run")["images"] if row["vm_uuid"] == vm.uuid}

    place.json("sweep")
    assert why() == {"new", "other_fleet"}
    assert orphan.exists()
    place.environment["CONFIGDRIVE_ORPHAN_SECONDS"] = "0"
    assert why() == {"vm_unknown", "other_fleet"}
    assert orphan.exists()
    assert name in of(place.json("sweep"), vm)
    assert not orphan.exists()
    assert others.exists(), "what another fleet has made is another fleet's to sweep"


def signed(name: str, fleet: str) -> str:
    return f"{name.removesuffix('.iso')}.{'a' * 16}-{fleet}.iso"


def test_what_a_host_may_need_that_is_away_stays(place: Place, vm: VmScript) -> None:
    started(place, vm)
    orphan = put_file(place, vm.image(0))
    place.cloud.world.faults.inject(Raise(verb=Verb.SURVEY, code=TransientCode.HOST_UNREACHABLE, times=2))
    shown = place.run("sweep")
    found = place.json("sweep", code=ExitCode.FAILED)

    assert shown.exit_code == ExitCode.FAILED
    assert f"not answering: {HOST}; what they may need was left alone" in shown.stderr
    assert found == {"dry_run": False, "images": [], "hosts_away": [HOST]}
    assert orphan.exists()
    assert of(place.json("sweep"), vm)[orphan.name]["deleted"]


def test_what_cannot_be_deleted_is_a_failure_with_its_cause(place: Place, vm: VmScript) -> None:
    started(place, vm)
    orphan = put_file(place, vm.image(0))
    place.cloud.world.faults.inject(
        Raise(verb=Verb.DELETE, code=TransientCode.STORAGE_UNAVAILABLE, vm=vm.uuid, times=2)
    )
    found = of(place.json("sweep", code=ExitCode.FAILED), vm)[orphan.name]
    shown = place.run("sweep")

    assert (found["goes"], found["deleted"], found["error"]["code"]) == (True, False, "storage_unavailable")
    assert shown.exit_code == ExitCode.FAILED
    row = row_of(shown.stdout, orphan.name)
    assert row.split()[0] == "failed"
    assert "storage_unavailable" in row
    assert place.run("sweep").exit_code == ExitCode.DONE


def test_what_hosts_could_not_give_up_goes_first(place: Place, vm: VmScript) -> None:
    started(place, vm)
    place.cloud.world.faults.inject(Raise(verb=Verb.OBSERVE, code=TransientCode.HOST_UNREACHABLE, vm=vm.uuid, times=3))
    outcome = place.outcome(vm.event("destroy"))
    assert (outcome["status"], outcome["code"]) == ("applied", "host_unreachable")
    assert outcome["facts"]["left_behind"].startswith(f"drive@{HOST}, {STORAGE}@")
    assert place.cloud.medium(vm.uuid) is not None
    assert place.json("show", vm.uuid)["left_on"] == [HOST]

    assert of(place.json("sweep", "--dry-run"), vm)[vm.image(1)]["why"] == "in_drive"
    assert of(place.json("sweep"), vm) == {}
    assert (place.cloud.images(vm.uuid), place.cloud.medium(vm.uuid)) == ([], None)
    assert place.json("show", vm.uuid)["left_on"] == []


def test_a_worker_asks_by_itself_for_what_a_host_could_not_give_up(
    quiet_place: Callable[..., Place], vm: VmScript
) -> None:
    place = quiet_place(leftover_seconds=0.2, resend_seconds=0.2)
    with place.with_worker() as worker:
        started(place, vm)
        place.cloud.world.faults.inject(
            Raise(verb=Verb.OBSERVE, code=TransientCode.HOST_UNREACHABLE, vm=vm.uuid, times=5)
        )
        place.outcome(vm.event("stop"))
        said = f"host {HOST} has nothing of VM {vm.uuid} any more"
        wait_until(lambda: said in worker.log, "the worker to ask the host until it answers", timeout=20)
        wait_until(lambda: place.json("show", vm.uuid)["left_on"] == [], "that to be remembered", timeout=5)
    assert (place.cloud.images(vm.uuid), place.cloud.medium(vm.uuid)) == ([], None)
    assert place.fleet.mailbox.dead_letters(10) == []


def test_a_worker_sweeps_by_itself_when_it_is_time(quiet_place: Callable[..., Place], vm: VmScript) -> None:
    place = quiet_place(storage_sweep_seconds=1)
    with place.with_worker() as worker:
        started(place, vm)
        for _ in range(2):
            orphan = put_file(place, vm.image(0))
            wait_until(lambda file=orphan: not file.exists(), "the next sweep", timeout=60)  # type: ignore[misc]
        assert "swept: 2 images, 1 deleted" in worker.log
        assert "Traceback" not in worker.log
    assert place.cloud.medium(vm.uuid) == vm.image(1)


def test_a_sweep_of_its_own_goes_on_until_it_is_asked_to_end(place: Place, vm: VmScript, tmp_path: Path) -> None:
    started(place, vm)
    orphan = put_file(place, vm.image(0))
    with place.running("sweep", "--every", "1", CONFIGDRIVE_HEALTH_FILE=str(tmp_path / "alive")) as process:
        wait_until(lambda: not orphan.exists(), "the first round", timeout=20)
        orphan = put_file(place, vm.image(0))
        wait_until(lambda: not orphan.exists(), "the next round", timeout=20)
        assert (tmp_path / "alive").exists()
        process.send_signal(signal.SIGTERM)
        _out, errors = process.communicate(timeout=300)

    assert process.returncode == ExitCode.DONE
    assert f"deleted {vm.image(0)}: an older image of its VM" in errors
    assert "Traceback" not in errors


def test_one_hypervisor_is_swept_when_it_is_named_and_for_ever_and_only_looking_do_not_go_together(
    place: Place, vm: VmScript
) -> None:
    started(place, vm)
    assert vm.image() in of(place.json("sweep", "--hypervisor", "simulated", "--dry-run"), vm)
    shown = place.run("sweep", "--hypervisor", "kvm")
    assert shown.exit_code == ExitCode.MISCONFIGURED
    assert "has no table [kvm]" in shown.stderr
    for option in ("--dry-run", "--json", "--all"):
        refused = place.run("sweep", "--every", "60", option)
        assert (refused.exit_code, "--every" in refused.stderr) == (ExitCode.USAGE, True)
