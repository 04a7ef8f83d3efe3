import json
from collections.abc import Callable

import click

from configdrive.contract.outcome import Outcome, Status
from configdrive.lifecycle.state import ImageRecord, Leftover, Phase, VmRecord, write
from configdrive.model import (
    EventKey,
    Generation,
    HostName,
    HypervisorName,
    InstanceName,
    Intent,
    StorageName,
    Vm,
    VmUuid,
)
from configdrive.model import Place as Storage
from rigs.cloud import VmScript, key_of
from tasks.mailbox import DeadLetter, Held, NotNow, Wakeup
from tests.integration.cli.place import PASSWORD, USER_DATA, Place
from workers.cli.output import outcome_line

GUEST = {"password": PASSWORD, "user_data": {"text": USER_DATA}}


def test_the_life_of_a_password_is_shown_and_not_the_password(place: Place, vm: VmScript) -> None:
    seen = []
    for event in (vm.event("deploy"), vm.event("password_reset", guest=GUEST), vm.event("start"), vm.event("stop")):
        place.outcome(event)
        document = place.json("show", vm.uuid.upper())
        seen.append((document["phase"], document["generation"], document["password"]))

    assert seen == [
        ("staged", 1, "none"),
        ("staged", 1, "pending"),
        ("attached", 3, "on_drive"),
        ("absent", None, "none"),
    ]


def test_a_vm_is_shown_with_its_drive_and_the_file_that_is_on_the_storage(place: Place, vm: VmScript) -> None:
    place.outcome(vm.event("deploy", start=True, guest=GUEST))
    document, text = place.json("show", vm.uuid), place.run("show", vm.uuid).stdout

    assert document["definition"]["instance_name"] == vm.name
    assert document["places"] == [{"storage": "p1", "host": "h1", "identity": None}]
    assert (document["mailbox"], document["parked"], document["in_work"]) == ([], None, False)
    assert [document["image"]] == [file.name for file in place.cloud.directory.rglob(f"*{vm.uuid}*.iso")]
    assert (document["others"], document["left"], document["intents"]) == ([], [], [])
    assert text.splitlines()[0] == f"VM {vm.uuid}  {vm.name} on simulated host h1"
    for line in (
        "drive      attached, generation 1, on p1@h1",
        f"image      {document['image']}\n",
        "password   on drive",
        "nothing waits",
    ):
        assert line in text
    place.outcome(vm.event("stop"))
    assert place.json("show", vm.uuid)["image"] is None


def test_whatever_may_lie_somewhere_is_shown_by_its_exact_name(quiet_place: Callable[..., Place], vm: VmScript) -> None:
    place, uuid = quiet_place(lease_seconds=60), VmUuid(vm.uuid)
    simulated, here, there = HypervisorName("simulated"), Storage(StorageName("p1"), HostName("h1")), HostName("h0")
    record = VmRecord(
        vm=Vm(uuid, InstanceName(vm.name), simulated, HostName("h1")),
        phase=Phase.ATTACHED,
        image=ImageRecord("new.iso", Generation(3), 1.0),
        others=("older.iso",),
        places=(here,),
        left=(
            Leftover(simulated, there, places=(Storage(StorageName("p0"), there),), files=("left.iso",), drive=True),
            Leftover(simulated, HostName("h9"), places=(Storage(StorageName("p9"), None),)),
        ),
    )
    held = place.fleet.mailbox.hold(uuid)
    assert isinstance(held, Held)
    place.fleet.mailbox.release(held, write(record))
    event = vm.event("start")
    place.store(event)
    assert "waits for a worker" in place.run("show", vm.uuid).stdout
    claim = place.fleet.mailbox.claim(Wakeup(key_of(event), uuid, "configdrive.simulated"))
    assert not isinstance(claim, NotNow)
    assert place.fleet.mailbox.intend(claim, [Intent(HostName("h1"), "", here, "next.iso", simulated)])
    place.fleet.mailbox.note_doubt("configdrive.simulated", uuid)
    document, text = place.json("show", vm.uuid), place.run("show", vm.uuid).stdout

    assert document["in_work"] is True
    assert "a worker is at it, attempt 1" in text
    assert place.json("show")["unverified"] == {"configdrive.simulated": 1}
    assert "1 VMs that a worker may have left half-done" in place.run("show").stdout
    assert (document["image"], document["others"], document["unverified"]) == ("new.iso", ["older.iso"], True)
    assert [(one["host"], one["files"], one["drive"]) for one in document["left"]] == [
        ("h0", ["left.iso"], True),
        ("h9", [], False),
    ]
    assert [(one["host"], one["file"], one["place"]["storage"]) for one in document["intents"]] == [
        ("h1", "next.iso", "p1")
    ]
    for line in (
        "image      new.iso",
        "other      older.iso may lie there, too",
        "left on    h0: the drive; left.iso on p0@h0; finished when the host gives it up",
        "left on    h9: every image of the VM on p9@shared; finished when the host gives it up",
        "intent     next.iso may lie on p1@h1, by host h1",
        "verify     a worker may have left this VM half-done: it is looked at once no event waits",
    ):
        assert f"  {line}\n" in text


def test_a_parked_vm_is_shown_with_cause_remedy_and_what_waits_behind(place: Place, vm: VmScript) -> None:
    parked = place.parked(vm, guest=GUEST)
    behind = vm.event("start")
    place.store(behind)
    document, text = place.json("show", vm.uuid), place.run("show", vm.uuid).stdout
    fleet, overview = place.json("show"), place.run("show").stdout

    assert document["parked"] == document["parked_outcome"]["code"] == "access_denied"
    assert [(header["event_id"], header["type"]) for header in document["mailbox"]] == [
        (parked["id"], "deploy"),
        (behind["id"], "start"),
    ]
    assert f"access_denied: {document['parked_outcome']['detail']}" in text
    assert "parked in the first attempt" in text
    assert f"then: configdrive retry {vm.uuid}" in text
    (row,) = [row for row in fleet["parked"] if row["vm_uuid"] == vm.uuid]
    assert (row["code"], row["waiting"], row["outcome"]["event_id"]) == ("access_denied", 1, parked["id"])
    assert f"{vm.uuid}  parked" in overview
    assert "deploy #1, 1 more wait" in overview


def test_what_waits_is_counted_for_each_queue(quiet_place: Callable[..., Place], vm: VmScript) -> None:
    place = quiet_place(zones=["berlin"])
    assert "no event waits or is in work" in place.run("show").stdout
    place.store(vm.event("deploy", zone="berlin"))
    assert place.json("show")["pending"] == {"configdrive.simulated.berlin": 1}
    assert "no event was applied so far" in place.run("show", vm.uuid).stdout


HARM = "\x1b]0;mine\x07\x1b[2J\x9b31m\r\n"


def test_what_strangers_wrote_ends_no_reader_and_steers_no_terminal(
    quiet_place: Callable[..., Place], vm: VmScript
) -> None:
    """By logins that may write there: those of publishers, of the adapter for CloudStack, and of a newer worker."""
    place, other = quiet_place(), VmScript()
    place.store({**vm.event("deploy"), "source": "/a\u200b"})
    key = place.fleet.settings.key_prefix
    odd = {"reason": HARM, "attempts": HARM, "until": HARM, "owner": b"\xff", "parked": HARM, HARM: HARM}
    newer = Outcome("e", HARM, HARM, HARM, 1, Status.APPLIED, 1e300, HARM, HARM, HARM, facts={"storage": HARM})
    letters = ["{}", "[" * 5000, HARM, b"\xff", json.dumps({"at": 1e300, "origin": HARM, "reason": HARM, "x": 1})]
    with place.fleet.redis.client() as client:
        client.hset(f"{key}vm:{other.uuid}", mapping={**odd, "state": write(VmRecord(others=(HARM,)))})
        client.hset(f"{key}vm:{vm.uuid}", mapping=odd)
        client.zadd(f"{key}parked", {vm.uuid: 1, HARM: 2, b"\xff": 3})
        client.sadd(f"{key}queues", HARM, b"\xff")
        client.lpush(f"{key}dead", *letters)
        for outcome in (newer.to_json(), newer.to_json().replace('"applied"', '"postponed"'), "{}", HARM):
            client.xadd(f"{key}outcomes", {"event": "x", "outcome": outcome})
        act = json.dumps({"at": 1, "who": HARM, "action": HARM, "reason": HARM, "vm_uuid": None})
        for entry in ({"entry": "{}"}, {"x": "y"}, {"entry": act}):
            client.xadd(f"{key}operators", entry)
    with place.running("watch", "--since", "all") as watching:
        assert watching.stdout is not None
        line = watching.stdout.readline()
    assert "at no time" in line
    shown = [line.removesuffix("\n")]
    for words in (
        "show",
        f"show {vm.uuid}",
        f"show {other.uuid}",
        "dead",
        "wake --dry-run",
        "retry --all-parked --code x",
    ):
        for options in ([], ["--json"]):
            ran = place.run(*words.split(), *options)
            assert ran.exception is None or isinstance(ran.exception, SystemExit), words
            shown += ran.output.splitlines()
    shown += click.unstyle(outcome_line(newer)).split("\n")
    assert [text for text in shown if not text.isprintable()] == []
    assert sum("\ufffd" in text for text in shown) > 10, "what is no text for people is seen to be there"


def test_dead_letters_are_counted_and_listed(quiet_place: Callable[..., Place], vm: VmScript) -> None:
    place = quiet_place()
    assert place.run("dead").stdout == "no dead letters\n"
    place.fleet.mailbox.dead_letter(DeadLetter(1000.0, "broker", "an older one"))
    place.fleet.mailbox.dead_letter(DeadLetter(2000.0, "mailbox", "not an event", EventKey("e-9"), VmUuid(vm.uuid)))

    assert [letter["reason"] for letter in place.json("dead")["dead_letters"]] == ["not an event", "an older one"]
    assert [letter["event_id"] for letter in place.json("dead", "--limit", "1")["dead_letters"]] == ["e-9"]
    assert f"from mailbox  VM {vm.uuid}  event e-9  not an event" in place.run("dead").stdout
    assert "2 dead letters, the newest " in place.run("show").stdout
    assert place.json("show")["dead_letters"]["count"] == 2
