"""Programs in other languages publish, and real workers do what they say: the contract is no Python module.

And the client in an orchestrator of its own: beside modules that are called as ours are, and without Celery.
"""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from nacl.public import PrivateKey

from configdrive.client.public_key import identity_of
from rigs.cloud import VmScript, key_of
from rigs.fleet import keys_in
from rigs.go_client import EXAMPLES, GoClient
from tests.e2e.known_secrets import betrayed
from tests.e2e.site import Site, new_vm, uuid_of
from tests.support import require_rig, run_command
from workers.config.key_ring import KeyRing, make_sealer
from workers.config.keys import Key, public_text, read_keys

PASSWORD = "Grüße from Go"
USER_DATA = "#!/bin/sh\necho 世界\n"
TIME = "2026-03-10T12:33:00Z"


@pytest.fixture(scope="module")
def client(site: Site) -> GoClient:
    with require_rig():
        make_sealer(site.settings)
        client = GoClient(site.redis.url, public_text(read_keys(site.settings.keys_file)[-1]))
    done = run_command(site.environment, "functions", "load")
    assert done.stdout == "loaded configdrive_v1: FCALL configdrive_put_v1 0 <event JSON>\n"
    return client


def timed(event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "time": TIME}


def files_on_the_drive(site: Site, vm: VmScript) -> dict[str, bytes]:
    """Read what the guest finds when it is powered on."""
    world, uuid = site.cloud.world, uuid_of(vm)
    world.start_vm(uuid)
    try:
        return world.read_drive(uuid)
    finally:
        world.stop_vm(uuid)


@pytest.mark.parametrize("way", ["publish", "call"])
def test_a_vm_lives_by_what_a_program_in_go_says(site: Site, client: GoClient, way: str) -> None:
    vm = new_vm()
    guest = {"password": PASSWORD, "user_data": {"text": USER_DATA}}
    outcomes = client.send(way, timed(vm.event("deploy", guest=guest)))
    assert [(outcome["event_type"], outcome["status"]) for outcome in outcomes] == [("deploy", "applied")], client.said
    outcomes += client.send(way, timed(vm.event("start")))
    assert outcomes[-1]["facts"]["attach"] == "inserted"
    site.require(vm, 2)
    files = files_on_the_drive(site, vm)
    assert files["cloudstack/password/vm_password.txt"] == PASSWORD.encode()
    assert files["cloudstack/userdata/user_data.txt"] == USER_DATA.encode()
    outcomes += client.send(way, timed(vm.event("stop")), timed(vm.event("destroy")))
    assert client.said == ""
    assert [(outcome["sequence"], outcome["vm_uuid"]) for outcome in outcomes] == [
        (number, vm.uuid) for number in range(1, 5)
    ]
    assert [outcome["status"] for outcome in outcomes[-1:]] == ["applied"]
    site.require(vm, None)


def test_publishing_again_under_the_same_id_does_nothing_and_finds_the_outcome(site: Site, client: GoClient) -> None:
    vm = new_vm()
    event = timed(vm.event("start"))
    (first,) = client.send("call", event)
    assert client.send("call", event) == [first]
    assert site.stream().count(key_of(event)) == 1


def test_what_is_refused_is_reported_to_whoever_waits_and_the_next_one_is_done(site: Site, client: GoClient) -> None:
    vm, other = new_vm(), new_vm()
    wrong = timed(vm.event("start", hypervisor="hyperv"))
    right = timed(other.event("start"))
    outcomes = {outcome["event_id"]: outcome for outcome in client.send("publish", wrong, right)}
    assert (outcomes[wrong["id"]]["status"], outcomes[wrong["id"]]["code"]) == ("rejected", "unknown_hypervisor")
    assert outcomes[right["id"]]["status"] == "applied"
    assert client.code == 1
    assert wrong["id"] in {letter.event_id for letter in site.mailbox.dead_letters(10)}
    client.send("call", wrong)
    assert client.code == 2
    assert "UNKNOWN_HYPERVISOR data.hypervisor: no driver is called 'hyperv' (known are: " in client.said


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"surplus": 1}, "data.surplus"),
        ({"label": "no such label!"}, "data.label"),
        ({"guest": {"password": "two\nlines"}}, "data.sealed"),
    ],
)
def test_what_redis_cannot_check_is_rejected_when_it_is_taken_and_holds_nobody_up(
    site: Site, client: GoClient, change: dict[str, Any], field: str
) -> None:
    vm = new_vm()
    outcomes = client.send("call", timed(vm.event("start", **change)), timed(vm.event("start")))
    assert [(outcome["status"], outcome.get("code")) for outcome in outcomes] == [
        ("rejected", "invalid_event"),
        ("applied", None),
    ]
    assert field in outcomes[0]["detail"]
    assert any(letter.event_id == outcomes[0]["event_id"] for letter in site.mailbox.dead_letters(10))
    site.require(vm, 2)


def test_a_shell_script_stops_and_destroys(site: Site, client: GoClient) -> None:
    vm = new_vm()
    assert client.send("publish", timed(vm.event("start")))[0]["status"] == "applied"
    for kind, sequence in (("stop", 2), ("destroy", 3)):
        done = subprocess.run(
            [str(EXAMPLES / "shell" / "publish.sh"), kind, vm.uuid, vm.name, "simulated", "h1", str(sequence)],
            env={**os.environ, "REDIS_PORT": str(urlsplit(site.redis.url).port)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        outcome = json.loads(done.stdout)
        assert (outcome["vm_uuid"], outcome["event_type"], outcome["status"]) == (vm.uuid, kind, "applied")
    site.require(vm, None)


@pytest.fixture(autouse=True)
def discreet(site: Site) -> Iterator[None]:
    yield
    assert PASSWORD not in site.log
    assert betrayed(site.log.encode()) == []


def test_libsodium_s_sealed_boxes_open_in_go_and_gos_open_here(client: GoClient) -> None:
    """The published vectors, by two programs that have nothing in common."""
    vectors = json.loads((EXAMPLES / "sealed-vectors.json").read_text("utf-8"))
    private = PrivateKey(base64.b64decode(vectors["private_key"]))
    ring = KeyRing(lambda: [Key(identity_of(private.public_key), "2026-01-01T00:00:00+00:00", private)])
    sealed_anew = client.send("vectors", vectors)
    assert (client.said, len(sealed_anew)) == ("", len(vectors["opens"]))
    for sealed, vector in zip(sealed_anew, vectors["opens"], strict=True):
        assert sealed["sealed"] != vector["sealed"]
        assert ring.open(sealed["sealed"], f"{vector['vm']}/{vector['event']}").decode() == vector["guest"]
    good = vectors["opens"][0]
    client.send("vectors", {**vectors, "opens": [], "refused": [{**good, "why": "it is a good one"}]})
    assert "a sealed box was opened that must be refused: it is a good one" in client.said


DECOYS = ("tasks", "workers", "settings", "celeryconfig", "publisher", "client", "redis_url")

ORCHESTRATOR = """
import json, sys
import tasks, workers, settings, celeryconfig
from configdrive.client import connect

event = json.load(sys.stdin)
with connect(redis_url=sys.argv[1], public_key=sys.argv[2], key_prefix=sys.argv[3]) as publisher:
    receipt = publisher.publish(event)
    outcome = publisher.wait(receipt, 300)
    (last,) = [found for _, found in publisher.outcomes("0", timeout=0.2) if found.key == receipt.key]
print(json.dumps({
    "accepted": receipt.accepted,
    "status": outcome.status,
    "followed": last == outcome,
    "decoys": [module.DECOY for module in (tasks, workers, settings, celeryconfig)],
    "modules": {name: getattr(module, "__file__", None) for name, module in sys.modules.items()},
}))
"""


@pytest.fixture
def orchestrator(tmp_path: Path) -> Path:
    """A folder with an orchestrator's program, and modules of its own."""
    for name in DECOYS:
        (tmp_path / f"{name}.py").write_text("DECOY = True\n")
    program = tmp_path / "orchestrator.py"
    program.write_text(ORCHESTRATOR)
    return program


def test_it_publishes_beside_modules_of_the_same_names_and_gets_the_outcome(site: Site, orchestrator: Path) -> None:
    vm = new_vm()
    key = public_text(keys_in(site.settings.keys_file)[-1])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CONFIGDRIVE_")}
    done = subprocess.run(
        [sys.executable, str(orchestrator), site.redis.url, key, site.settings.key_prefix],
        input=json.dumps(vm.event("start", guest={"password": "only-sealed", "user_data": {"text": "#!/bin/sh\n"}})),
        env=environment,
        cwd=orchestrator.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert (said["accepted"], said["status"], said["followed"]) == (True, "applied", True)
    assert said["decoys"] == [True] * 4
    modules: dict[str, str | None] = said["modules"]
    for name, file in modules.items():
        top = name.partition(".")[0]
        assert top not in {"celery", "kombu", "billiard", "amqp", "vine", "click"}, name
        if top in {"tasks", "workers"}:
            assert file == str(orchestrator.parent / f"{name}.py"), f"{name} is ours"
    site.require(vm, 1)
