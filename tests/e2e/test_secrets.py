"""What a run leaves to be read: Redis and all that was ever sent to it, logs, Flower's pages, temporary folders."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from configdrive.contract.outcome import Outcome, Status
from configdrive.errors import PermanentCode, TransientCode
from configdrive.model import EventKey
from rigs.cloud import key_of
from rigs.flower import Flower
from rigs.monitor import RedisMonitor
from rigs.process import wait_until
from rigs.redis import RedisServer
from rigs.running_files import read_files, read_files_below
from rigs.simulated.faults import Kill, Point, Raise
from tasks.mailbox import OperatorAction
from tasks.wakeup import LEFTOVERS_NAME
from tests.e2e.known_secrets import (
    LAST_PASSWORD,
    PASSWORD,
    REDIS_PASSWORD,
    SECOND_PASSWORD,
    SECRETS,
    USER_DATA,
    b64,
    betrayed,
)
from tests.e2e.site import QUICK, Site, new_vm, uuid_of
from tests.support import require_rig
from workers.hypervisors.simulated.inventory import Verb

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rigs.cloud import VmScript


@dataclass
class Run:
    """All that one run came to."""

    site: Site
    flower: Flower
    monitor: RedisMonitor
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)
    events: dict[str, EventKey] = field(default_factory=dict)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with require_rig():
        redis = RedisServer(tmp_path_factory.mktemp("redis"))
    settings = {
        **QUICK,
        "redis_url": redis.url.replace("//", f"//fleet:{REDIS_PASSWORD}@"),
        "backoff_seconds": 2,
        "backoff_most_seconds": 2,
        "attempts": 3,
    }
    site = Site(tmp_path_factory.mktemp("site"), workers=2, redis=redis, settings=settings)
    flower = Flower(site.directory, site.environment)
    with redis, redis.client() as client:
        client.acl_setuser(
            "fleet", enabled=True, passwords=[f"+{REDIS_PASSWORD}"], categories=["+@all"], keys="*", channels="*"
        )
        yield from started(site, flower)


def started(site: Site, flower: Flower) -> Iterator[Run]:
    with site, flower, RedisMonitor(site.redis) as monitor:
        run = Run(site, flower, monitor)
        warm_up = new_vm()  # Flower shows only what happens while it listens
        wait_until(lambda: flower.state(site.publish(warm_up.event("deploy"))[0]), "Flower", timeout=20, interval=0.2)
        lead_many_lives(run)
        yield run


def lead_many_lives(run: Run) -> None:
    """Publish events with secrets: applied, tried again, parked, killed, refused, until Flower has each end."""
    site = run.site
    guest = {"password": PASSWORD, "user_data": {"text": USER_DATA}}
    vms = {name: new_vm() for name in ("quiet", "flaky", "hopeless", "wrong", "killed", "unsealable")}
    site.inject(
        Raise(verb=Verb.ATTACH, code=TransientCode.HOST_UNREACHABLE, vm=vms["flaky"].uuid, times=1),
        Raise(verb=Verb.ATTACH, code=TransientCode.HOST_UNREACHABLE, vm=vms["hopeless"].uuid, times=0),
        Raise(verb=Verb.UPLOAD, vm=vms["wrong"].uuid, code=PermanentCode.ACCESS_DENIED),
        Kill(verb=Verb.UPLOAD, when=Point.MIDDLE, vm=vms["killed"].uuid),
    )
    for name, vm in vms.items():
        if name != "unsealable":
            (run.events[name],) = site.publish(vm.event("deploy", guest=guest, start=True))
    run.events["unsealable"] = publish_to_another_vm(site, vms["unsealable"], guest)
    life = [
        vms["quiet"].event("password_reset", guest={"password": SECOND_PASSWORD}),
        vms["quiet"].event("stop"),
        vms["quiet"].event("start"),
        vms["quiet"].event("update", guest={"password": LAST_PASSWORD, "user_data": {"base64": b64(USER_DATA)}}),
        vms["quiet"].event("start"),
    ]
    run.events |= {f"{number}. {event['type'].split('.')[2]}": key_of(event) for number, event in enumerate(life)}
    for event in life:
        site.outcome(event)

    def shown(wrong: str) -> bool:
        rows = run.flower.tasks()
        states = {name: rows[event]["state"] if event in rows else None for name, event in run.events.items()}
        return states["wrong"] == wrong and set(states.values()) <= {"SUCCESS", "FAILURE"}

    wait_until(lambda: shown("FAILURE"), "all ends", timeout=40, interval=0.2)
    assert site.mailbox.act(uuid_of(vms["wrong"]), run.events["wrong"], OperatorAction.RETRY, None) is None
    wait_until(lambda: shown("SUCCESS"), "the end of what was tried again", timeout=40, interval=0.2)
    # Flower shows a failure of what was in a child that was killed, before another one has ended it.
    site.outcomes(run.events[name] for name in ("quiet", "flaky", "wrong", "killed"))
    for _, outcome in site.mailbox.outcomes("0", 0.01):
        assert outcome is not None
        run.outcomes.setdefault(outcome.key, []).append(outcome)


def publish_to_another_vm(site: Site, vm: VmScript, guest: Mapping[str, Any]) -> EventKey:
    """Publish an event whose box was made for another VM: it cannot be opened, and is parked."""
    stolen = site.publisher.posting(new_vm().event("deploy", guest=guest))
    event = vm.event("deploy")
    event["data"]["sealed"] = json.loads(stolen.body)["data"]["sealed"]
    return site.publish(event)[0]


def everything_in(site: Site) -> bytes:
    """Return all keys with all they hold, whatever their type."""
    parts: list[bytes] = []
    with site.redis.client() as client:
        for key in client.scan_iter(count=1000):
            read: dict[bytes, Any] = {
                b"string": lambda key=key: client.get(key),
                b"list": lambda key=key: client.lrange(key, 0, -1),
                b"hash": lambda key=key: client.hgetall(key),
                b"set": lambda key=key: client.smembers(key),
                b"zset": lambda key=key: client.zrange(key, 0, -1, withscores=True),
                b"stream": lambda key=key: client.xrange(key),
                b"none": lambda: b"",  # it has gone since it was listed
            }
            kind: Any = client.type(key)
            value = read[kind]()
            parts += [key, value if isinstance(value, bytes) else repr(value).encode()]
    return b"\n".join(parts)


def test_forms_would_be_found() -> None:
    """The search itself: it finds each secret in each disguise, at every place in base64."""
    for secret in SECRETS:
        for before in ("", "x", "xy", "xyz"):
            text = before + secret + "tail"
            disguises = [
                text.encode(),
                b64(text).encode(),
                base64.urlsafe_b64encode(text.encode()),
                text.encode().hex().encode(),
            ]
            disguises += [
                json.dumps({"a": text}).encode(),
                json.dumps(json.dumps({"a": text})).encode(),
                repr([text]).encode(),
            ]
            for disguise in disguises:
                assert betrayed(disguise) == [secret]


def test_every_way_was_gone(run: Run) -> None:
    ended = {name: [outcome.status for outcome in run.outcomes[event]] for name, event in run.events.items()}
    assert ended == {
        "quiet": [Status.APPLIED],
        "flaky": [Status.APPLIED],
        "hopeless": [Status.PARKED],
        "wrong": [Status.PARKED, Status.APPLIED],
        "killed": [Status.APPLIED],
        "unsealable": [Status.PARKED],
        "0. password_reset": [Status.APPLIED],
        "1. stop": [Status.APPLIED],
        "2. start": [Status.APPLIED],
        "3. update": [Status.APPLIED],
        "4. start": [Status.APPLIED],
    }
    assert run.outcomes[run.events["flaky"]][0].attempts == 2
    assert run.outcomes[run.events["hopeless"]][0].attempts == 3
    assert run.outcomes[run.events["killed"]][0].attempts == 2
    assert run.outcomes[run.events["unsealable"]][0].code == "unsealable"


def test_secrets_did_reach_the_drives(run: Run) -> None:
    """Otherwise the search below would prove nothing."""
    images = b"".join(content for _, content in read_files(run.site.cloud.world.files()))
    for secret in (PASSWORD, USER_DATA, LAST_PASSWORD):
        assert secret.encode() in images


def test_redis_holds_no_secret(run: Run) -> None:
    content = everything_in(run.site)
    assert run.events["hopeless"].encode() in content
    assert betrayed(content) == []
    for path, content in read_files_below(run.site.redis.directory):
        assert betrayed(content) == [], path.name


def test_nothing_sent_to_redis_was_a_secret(run: Run) -> None:
    seen = run.monitor.seen
    assert seen.count(b'"EVALSHA"') > 50
    assert betrayed(seen) == []


def test_logs_and_temporary_folders_hold_no_secret(run: Run) -> None:
    assert "access_denied" in run.site.log
    assert betrayed(run.site.log.encode()) == []
    assert betrayed(run.flower.log.read_bytes()) == []
    for worker in run.site.workers:
        for path, content in read_files_below(worker.temporary):
            assert betrayed(content) == [], path.name


def test_processes_show_no_secret_in_their_arguments(run: Run) -> None:
    for worker in run.site.workers:
        pids = [worker.pid, *worker.children()]
        assert len(pids) > 1
        for _, arguments in read_files(Path(f"/proc/{pid}/cmdline") for pid in pids):
            assert betrayed(arguments) == []


def test_flower_shows_no_secret(run: Run) -> None:
    node = next(iter(json.loads(run.flower.get("/api/workers?refresh=1"))))
    pages = {
        page: run.flower.get(page)
        for page in ("/api/tasks?limit=10000", "/workers", "/api/workers", f"/worker/{node}", "/broker", "/tasks")
    }
    assert b"broker_transport_options" in pages[f"/worker/{node}"]  # it does show the worker's settings
    for name, event in run.events.items():
        pages[name] = run.flower.task_page(event)
        assert event.encode() in pages[name]
    for name, page in pages.items():
        assert betrayed(page) == [], name


def test_flower_shows_one_row_for_each_event_with_what_became_of_it(run: Run) -> None:
    rows = run.flower.tasks()
    row = {name: rows[event] for name, event in run.events.items()}
    states = {name: row[name]["state"] for name in row}

    assert states["quiet"] == "SUCCESS"
    assert row["quiet"]["result"] == "'applied (attach=inserted, device=hdd, password=on_drive)'"
    assert (states["flaky"], row["flaky"]["retries"]) == ("SUCCESS", 1)
    assert states["hopeless"] == "FAILURE"
    assert row["hopeless"]["exception"].startswith("Parked('parked: host_unreachable: ")
    assert (states["wrong"], states["killed"]) == ("SUCCESS", "SUCCESS")
    assert row["unsealable"]["exception"].startswith("Parked('parked: unsealable: ")
    for name, event in run.events.items():
        word = name.split(". ")[-1]
        assert row[name]["name"] in (
            {f"configdrive.{word}"} if word != name else {"configdrive.deploy", "configdrive.start"}
        )
        assert re.fullmatch(r"\('\w+', '[0-9a-f-]{36}', \d+, '[\w-]+'\)", row[name]["args"])
        assert row[name]["kwargs"] == "{}"
        assert row[name]["eta"] is None
        assert "During handling" not in (row[name]["traceback"] or "")  # nothing of what went before
        assert sum(uuid == event for uuid in rows) == 1


def test_celery_keeps_its_keys_behind_the_prefix_and_sends_nothing_but_wake_ups(run: Run) -> None:
    with run.site.redis.client() as client:
        prefix = run.site.settings.key_prefix.encode()
        assert [key for key in client.scan_iter(count=1000) if not key.startswith(prefix)] == []
    queue = f"{run.site.settings.key_prefix}configdrive.simulated"
    sent = re.findall(rb'"LPUSH" "' + queue.encode() + rb'" "(.*)"\r\n', run.monitor.seen)
    assert len(sent) >= len(run.events)
    for line in sent:
        message = json.loads(line.decode("unicode_escape"))
        headers = message["headers"]
        assert (headers["eta"], headers["expires"]) == (None, None)
        arguments, named, embedded = json.loads(message["body"])
        if headers["task"] == LEFTOVERS_NAME:
            assert len(arguments) == 2, "a host, and the message's number"
            continue
        kind, uuid, attempt, number = arguments
        assert kind in {"deploy", "start", "stop", "password_reset", "update"}
        assert re.fullmatch("[0-9a-f-]{36}", uuid)
        assert attempt in {1, 2, 3}
        assert isinstance(number, int)
        assert (named, set(embedded.values())) == ({}, {None})
    commands = {line.split(b'"')[1] for line in run.monitor.seen.splitlines() if line.count(b'"') > 1}
    assert b"LPUSH" in commands
