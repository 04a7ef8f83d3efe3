"""`--json`: one object or lines of them, one name for a VM, and something on standard output whatever is found."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import click
import pytest

from rigs.cloud import VmScript
from tests.integration.cli.place import Place
from workers.cli.program import COMMANDS, program

STRANGER = "0d0a1c52-6f0f-4b51-9a3c-0a6d3f1a7c04"
OBJECTS = [
    ["show"],
    ["dead"],
    ["list"],
    ["keys", "list"],
    ["keys", "list", "--usage"],
    ["sweep"],
    ["sweep", "--drives"],
    ["adopt"],
    ["wake"],
    ["wake", "--dry-run"],
    ["doctor"],
    ["functions", "load"],
]
NOTHING = {
    f"sequence {STRANGER}": f"no event of VM {STRANGER} was applied so far",
    f"sequence {STRANGER} --set 1 --reason none": f"no event of VM {STRANGER} was applied so far",
    f"retry {STRANGER}": f"no event of VM {STRANGER} waits",
    "retry --all-parked": "nothing is parked",
    "retry --all-parked --code storage_full": "nothing is parked for storage_full",
    f"skip {STRANGER}": f"no event of VM {STRANGER} waits",
    "skip --all-parked": "nothing is parked",
    f"show {STRANGER}": f"nothing is known of VM {STRANGER}",
}
"""The last one sees that the others have left nothing that is known of the VM."""


PROGRAMS_AND_TEXTS = {
    *(("worker", "worker"), ("flower", "flower"), ("cloudstack", "amqp"), ("cloudstack", "webhook")),
    *(("cloudstack", "gate"), ("cloudstack", "gate-token")),
    *(("schema", "schema"), ("keys", "public"), ("functions", "show")),
}
"""Command and subcommand that run until they are ended, or print what is no document of ours."""


def keys_of(value: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys_of(inner)


def test_where_there_is_nothing_every_command_says_so_on_standard_output(quiet_place: Callable[..., Place]) -> None:
    place = quiet_place()
    place.run("keys", "generate")
    for args in OBJECTS:
        shown = place.run(*args, "--json")
        assert shown.stdout, (args, shown.output)
        assert isinstance(json.loads(shown.stdout), dict), args
    for command, reason in NOTHING.items():
        shown = place.run(*command.split(), "--json")
        found = json.loads(shown.stdout)
        assert (found["found"], found["reason"], shown.stderr) == (False, reason, f"{reason}\n"), command
        assert (found.get("vm_uuid"), shown.exit_code) == ((STRANGER, 1) if STRANGER in command else (None, 0)), command


def test_a_vm_has_one_name(place: Place, vm: VmScript) -> None:
    (stored,) = place.lines("publish", "-", stdin=json.dumps(vm.event("start", guest={"password": "x y z"})))
    assert (stored["result"], stored["vm_uuid"]) == ("stored", vm.uuid)
    place.outcome(vm.event("start"))
    for args in (["show", vm.uuid], ["show"], ["sequence", vm.uuid], ["sweep", "--dry-run"], ["sweep", "--drives"]):
        document = place.json(*args)
        assert "vm" not in set(keys_of(document)) - {"definition"}, args
    assert place.json("show", vm.uuid)["vm_uuid"] == vm.uuid


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_other_command_takes_json(name: str) -> None:
    def leaves(command: click.Command) -> Iterator[click.Command]:
        if isinstance(command, click.Group):
            for inner in command.commands.values():
                yield from leaves(inner)
        else:
            yield command

    command = program.get_command(click.Context(program), name)
    assert command is not None
    shown = {(name, leaf.name) for leaf in leaves(command) if "as_json" not in {option.name for option in leaf.params}}
    assert shown <= PROGRAMS_AND_TEXTS
