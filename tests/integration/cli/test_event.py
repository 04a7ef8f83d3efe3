import json
from pathlib import Path

from configdrive.model import VmUuid
from rigs.cloud import HOST, VmScript
from tests.integration.cli.place import PASSWORD, USER_DATA, Place
from workers.cli.errors import ExitCode


def options(vm: VmScript, sequence: int | str) -> list[str]:
    identity = ["--vm", vm.uuid, "--name", vm.name, "--hypervisor", "simulated", "--host", HOST]
    return [*identity, "--sequence", str(sequence)]


def drive(place: Place, vm: VmScript) -> dict[str, bytes]:
    place.cloud.world.start_vm(VmUuid(vm.uuid))
    read = place.cloud.world.read_drive(VmUuid(vm.uuid))
    place.cloud.world.stop_vm(VmUuid(vm.uuid))
    return read


def test_a_vm_s_whole_life_from_the_shell(place: Place, vm: VmScript, tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(USER_DATA)
    files: dict[str, bytes] = {}
    for number, (command, *more) in enumerate(
        (
            ("deploy", "--user-data", str(tmp_path / "web.yaml"), "--metadata", "local_hostname=web-1"),
            ("password-reset", "--password-file", "-"),
            ("start",),
            ("stop",),
            ("destroy",),
        ),
        1,
    ):
        (reported,) = place.lines("event", command, *options(vm, "next"), *more, "--publish", "--wait", stdin=PASSWORD)
        reached = tuple(reported["outcome"][name] for name in ("event_type", "sequence", "status"))
        assert reached == (command.replace("-", "_"), number, "applied")
        files = drive(place, vm) if command == "start" else files

    assert files["cloudstack/password/vm_password.txt"] == PASSWORD.encode()
    assert files["cloudstack/userdata/user_data.txt"] == USER_DATA.encode()
    assert files["cloudstack/metadata/local_hostname.txt"] == b"web-1"
    assert place.cloud.images(vm.uuid) == []


def test_what_is_printed_can_be_published_as_it_is(place: Place, vm: VmScript) -> None:
    printed = place.run("event", "deploy", *options(vm, 1), "--start", "--password-file", "-", stdin=PASSWORD)
    (reported,) = place.lines("publish", "-", "--wait", stdin=printed.stdout)

    assert reported["outcome"]["facts"]["password"] == "on_drive"
    assert drive(place, vm)["cloudstack/password/vm_password.txt"] == PASSWORD.encode()


def test_a_sealed_event_cannot_be_moved_to_another_vm(place: Place, vm: VmScript) -> None:
    printed = place.run("event", "deploy", *options(vm, 1), "--password-file", "-", stdin=PASSWORD).stdout
    moved = printed.replace(vm.uuid, VmScript().uuid)
    (reported,) = place.lines("publish", "-", "--wait", stdin=moved, code=ExitCode.FAILED)

    assert (reported["outcome"]["status"], reported["outcome"]["code"]) == ("parked", "unsealable")
    place.run("skip", "--yes", json.loads(moved)["data"]["vm"]["uuid"])


def test_the_next_sequence_counts_what_waits_too(place: Place, vm: VmScript) -> None:
    place.parked(vm, sequence=41)
    printed = json.loads(place.run("event", "stop", *options(vm, "next")).stdout)
    place.run("skip", "--yes", vm.uuid)

    assert printed["data"]["sequence"] == 42
