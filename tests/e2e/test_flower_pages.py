"""What a run leaves to be read: Flower's pages, and no secret in them, Redis, what was ever sent to it, logs, files."""

import base64
import importlib.util
import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from configdrive.contract.outcome import Outcome, Status
from configdrive.errors import TransientCode
from configdrive.model import EventKey
from rigs import keyspace
from rigs.browser import Browser, words_of
from rigs.cloud import key_of
from rigs.flower import Flower
from rigs.monitor import RedisMonitor
from rigs.process import wait_until
from rigs.redis import RedisServer
from rigs.running_files import read_files, read_files_below
from rigs.simulated.faults import Kill, Point, Raise
from rigs.worker import CONFIGDRIVE
from tasks.mailbox import OperatorAction
from tasks.wakeup import LEFTOVERS_NAME
from tests.e2e.flower_fleet import Watched, watched
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
from tests.e2e.site import new_vm, uuid_of
from tests.support import require, require_rig
from workers.cli.errors import ExitCode
from workers.hypervisors.simulated.inventory import Verb

TABS = ("pool", "broker", "queues", "tasks", "limits", "config", "system", "other")
CONFIGURATION = Path(__file__).resolve().parents[2] / "deploy" / "flower" / "flowerconfig.py"


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisMonitor, Watched]]:
    """A fleet that logs in with a password, and all that is said to its Redis."""
    with require_rig():
        server = RedisServer(tmp_path_factory.mktemp("redis"))
    with server, server.client() as client:
        client.acl_setuser(
            "fleet", enabled=True, passwords=[f"+{REDIS_PASSWORD}"], categories=["+@all"], keys="*", channels="*"
        )
        url = server.url.replace("//", f"//fleet:{REDIS_PASSWORD}@")
        with (
            RedisMonitor(server) as monitor,
            watched(tmp_path_factory.mktemp("watched"), server, redis_url=url) as seen,
        ):
            yield monitor, seen


@pytest.fixture(scope="module")
def seen(monitored: tuple[RedisMonitor, Watched]) -> Watched:
    return monitored[1]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    require(importlib.util.find_spec("libvirt"), "libvirt-python is not installed: no worker for KVM")
    with require_rig():
        return Browser(tmp_path_factory.mktemp("browser"))


def test_the_first_page_lists_the_workers_of_each_hypervisor(seen: Watched, browser: Browser) -> None:
    def listed() -> list[str]:
        return re.findall(r"((?:kvm|simulated)-\d)@\S+ Online", words_of(browser.source(seen.flower.url)))

    names = wait_until(lambda: names if len(names := listed()) == 3 else None, "all workers to be listed", timeout=30)
    assert sorted(names) == ["kvm-1", "simulated-1", "simulated-2"]


def test_the_list_of_tasks_says_of_each_event_what_it_was_and_what_became_of_it(
    seen: Watched, browser: Browser
) -> None:
    source = browser.source(seen.flower.url + "/tasks")
    shown = words_of(source)
    rows = {
        name: re.search(rf"configdrive\.deploy deploy i-2-\w+-vm {vm.uuid} ([A-Z]+) \S+@\S+ (.*?) (\d) ", shown)
        for name, vm in seen.vms.items()
    }
    said = {name: row.groups() for name, row in rows.items() if row is not None}
    password = "password=on_drive"
    assert said == {
        "applied": ("SUCCESS", f"applied (attach=inserted, device=hdd, {password})", "0"),
        "retried": ("SUCCESS", f"applied (attach=inserted, device=hdd, {password})", "1"),
        "parked": ("FAILURE", "parked: access_denied: injected before upload", "0"),
    }
    assert re.search(r"\d\d ms", shown), "run times read as durations"
    assert betrayed(source.encode()) == []
    cells = re.findall(r'<td[^>]* data-column="(\w+)"', source)  # on a narrow window each cell says its column
    assert cells[:9] == ["Name", "args", "State", "Worker", "Result", "Retries", "Runtime", "Received", "UUID"]


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ("parked", ["Status FAILURE", "Result parked: access_denied: injected before upload"]),
        ("retried", ["Status SUCCESS", "Retries 1", "Runtime"]),
    ],
)
def test_the_page_of_an_event_shows_its_outcome_and_no_secret(
    seen: Watched, browser: Browser, event: str, said: list[str]
) -> None:
    source = browser.source(f"{seen.flower.url}/task/{seen.events[event]}")
    shown, uuid = words_of(source), seen.vms[event].uuid
    assert re.search(rf"deploy i-2-\w+-vm {uuid}", shown)
    assert [word for word in (f"configdrive show {uuid}", *said) if word not in shown] == []
    assert ("Traceback" in shown) is (event == "retried"), "none of an end that was decided on"
    assert betrayed(source.encode()) == []


def test_nothing_on_any_page_is_cut_or_goes_sideways(seen: Watched, browser: Browser) -> None:
    """On a phone as on a desk; of a worker each of its tabs."""
    worker = f"{seen.flower.url}/worker/{worker_of(seen, 'kvm-1')}"
    pages = [f"{seen.flower.url}/{page}" for page in ("workers", "tasks", "broker")]
    pages += [f"{seen.flower.url}/task/{event}" for event in seen.events.values()]
    pages += [f"{worker}?{tab}#tab-{tab}" for tab in TABS]
    assert browser.misfits(pages, (390, 1400, 1920), within="main *, nav *", settled=1500) == []


def test_nothing_can_be_stopped_from_the_pages(seen: Watched, browser: Browser) -> None:
    shown = browser.source(f"{seen.flower.url}/worker/{worker_of(seen, 'kvm-1')}")
    assert "configdrive.kvm" in shown
    assert "btn-danger" not in shown
    assert "worker-shutdown" not in shown


def test_flower_asks_nothing_of_workers_that_they_do_not_take(seen: Watched) -> None:
    """Each of such questions, every few seconds, would be a traceback in the log of each worker."""
    logs = {worker.name: worker.log for worker in seen.site.workers}
    assert [name for name, log in logs.items() if "pidbox" in log] == []
    assert "Traceback" not in logs.get("kvm-1", ""), "no event of this run is its"


def test_the_shipped_configuration_file_shows_the_same_columns_and_is_no_login(seen: Watched) -> None:
    environment = {**seen.site.environment, "FLOWER_CONF": str(CONFIGURATION)}
    with Flower(seen.site.directory, environment) as other:
        shown = other.get("/tasks")
    columns = re.findall(rb'<th data-column="(\w+)"', shown)
    assert columns == re.findall(rb'<th data-column="(\w+)"', seen.flower.get("/tasks"))
    assert columns[:4] == [b"name", b"args", b"state", b"worker"]
    done = flower_ends(seen, "--address=0.0.0.0", f"--conf={CONFIGURATION}")
    assert done.returncode == ExitCode.MISCONFIGURED
    assert "Flower would be open to everyone" in done.stderr


def test_a_configuration_file_with_a_login_is_one(seen: Watched, tmp_path: Path) -> None:
    file = tmp_path / "flowerconfig.py"
    file.write_text(CONFIGURATION.read_text("utf-8") + 'basic_auth = ["admin:Hunter2"]\nport = 1\n')
    done = flower_ends(seen, "--address=0.0.0.0", "--port=1", f"--conf={file}", "--certfile=nowhere")
    assert "open to everyone" not in done.stderr
    assert "'keyfile' are required" in done.stdout + done.stderr, "it went on to Flower itself"


def flower_ends(seen: Watched, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **seen.site.environment}
    argv = [CONFIGDRIVE, "flower", *options]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=300)


def worker_of(seen: Watched, name: str) -> str:
    """Return the full name of a worker."""
    match = re.search(rf"{name}@[\w.-]+", seen.flower.get("/workers").decode())
    assert match is not None
    return match[0]


@dataclass
class Run:
    """All that a run came to in which events with secrets came to every kind of end."""

    seen: Watched
    monitor: RedisMonitor
    events: dict[str, EventKey]
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def run(monitored: tuple[RedisMonitor, Watched]) -> Run:
    """Publish more events with secrets: given up, killed, refused, until Flower has each end."""
    monitor, seen = monitored
    run, site = Run(seen, monitor, dict(seen.events)), seen.site
    guest = {"password": PASSWORD, "user_data": {"text": USER_DATA}}
    hopeless, killed, quiet = new_vm(), new_vm(), seen.vms["applied"]
    site.inject(
        Raise(verb=Verb.ATTACH, code=TransientCode.HOST_UNREACHABLE, vm=hopeless.uuid, times=0),
        Kill(verb=Verb.UPLOAD, when=Point.MIDDLE, vm=killed.uuid),
    )
    unsealable = new_vm().event("deploy")  # its box was made for another VM
    stolen = site.publisher.posting(new_vm().event("deploy", guest=guest))
    unsealable["data"]["sealed"] = json.loads(stolen.body)["data"]["sealed"]
    events = {
        "hopeless": hopeless.event("deploy", guest=guest, start=True),
        "killed": killed.event("deploy", guest=guest, start=True),
        "unsealable": unsealable,
    }
    life = [
        quiet.event("password_reset", guest={"password": SECOND_PASSWORD}),
        quiet.event("stop"),
        quiet.event("start"),
        quiet.event("update", guest={"password": LAST_PASSWORD, "user_data": {"base64": b64(USER_DATA)}}),
        quiet.event("start"),
    ]
    run.events |= zip(events, site.publish(*events.values()), strict=True)
    run.events |= {f"{number}. {event['type'].split('.')[2]}": key_of(event) for number, event in enumerate(life)}
    for event in life:
        site.outcome(event)
    parked = seen.events["parked"]
    assert site.mailbox.act(uuid_of(seen.vms["parked"]), parked, OperatorAction.RETRY, None) is None

    def shown() -> bool:
        rows = seen.flower.tasks()
        states = {name: rows[event]["state"] if event in rows else None for name, event in run.events.items()}
        return states["parked"] == "SUCCESS" and set(states.values()) <= {"SUCCESS", "FAILURE"}

    wait_until(shown, "all ends, one of what was tried again", timeout=40, interval=0.2)
    # Flower shows a failure of what was in a child that was killed, before another one has ended it.
    site.outcomes([parked, run.events["killed"]])
    for _, outcome in site.mailbox.outcomes("0", 0.01):
        assert outcome is not None
        run.outcomes.setdefault(outcome.key, []).append(outcome)
    return run


def test_forms_would_be_found() -> None:
    """The search itself: it finds each secret in each disguise, at every place in base64."""
    for secret in SECRETS:
        for before in ("", "x", "xy", "xyz"):
            text = before + secret + "tail"
            plain = json.dumps({"a": text})
            disguises = [text.encode(), text.encode().hex().encode(), base64.urlsafe_b64encode(text.encode())]
            disguises += [each.encode() for each in (b64(text), plain, json.dumps(plain), repr([text]))]
            for disguise in disguises:
                assert betrayed(disguise) == [secret]


def test_every_way_was_gone(run: Run) -> None:
    ended = {name: [outcome.status for outcome in run.outcomes[event]] for name, event in run.events.items()}
    others = {
        "parked": [Status.PARKED, Status.APPLIED],
        "hopeless": [Status.PARKED],
        "unsealable": [Status.PARKED],
    }
    assert ended == {name: others.get(name, [Status.APPLIED]) for name in run.events}
    attempts = {name: run.outcomes[run.events[name]][0].attempts for name in ("retried", "hopeless", "killed")}
    assert attempts == {"retried": 2, "hopeless": 3, "killed": 2}
    assert run.outcomes[run.events["unsealable"]][0].code == "unsealable"


def test_secrets_did_reach_the_drives(run: Run) -> None:
    """Otherwise the search below would prove nothing."""
    images = b"".join(content for _, content in read_files(run.seen.site.cloud.world.files()))
    for secret in (PASSWORD, USER_DATA, LAST_PASSWORD):
        assert secret.encode() in images


def test_redis_holds_no_secret_and_nothing_but_behind_the_prefix(run: Run) -> None:
    site = run.seen.site
    with site.redis.client() as client:
        values = keyspace.read(client, "").values
    assert [key for key in values if not key.startswith(site.settings.key_prefix)] == []
    content = repr(values)
    assert run.events["hopeless"] in content
    assert betrayed(content.encode()) == []
    for path, written in read_files_below(site.redis.directory):
        assert betrayed(written) == [], path.name


def test_nothing_sent_to_redis_was_a_secret(run: Run) -> None:
    seen = run.monitor.seen
    assert seen.count(b'"EVALSHA"') > 50
    assert betrayed(seen) == []


def test_logs_and_temporary_folders_hold_no_secret(run: Run) -> None:
    site = run.seen.site
    assert "access_denied" in site.log
    assert betrayed(site.log.encode()) == []
    assert betrayed(run.seen.flower.log.read_bytes()) == []
    for worker in site.workers:
        for path, content in read_files_below(worker.temporary):
            assert betrayed(content) == [], path.name


def test_processes_show_no_secret_in_their_arguments(run: Run) -> None:
    for worker in run.seen.site.workers:
        pids = [worker.pid, *worker.children()]
        assert len(pids) > 1
        for _, arguments in read_files(Path(f"/proc/{pid}/cmdline") for pid in pids):
            assert betrayed(arguments) == []


def test_flower_shows_no_secret(run: Run) -> None:
    flower = run.seen.flower
    node = worker_of(run.seen, "simulated-1")
    flower.get("/api/workers?refresh=1")
    names = ("/api/tasks?limit=10000", "/workers", "/api/workers", f"/worker/{node}", "/broker", "/tasks")
    pages = {page: flower.get(page) for page in names}
    assert b"broker_transport_options" in pages[f"/worker/{node}"]  # it does show the worker's settings
    for name, event in run.events.items():
        pages[name] = flower.task_page(event)
        assert event.encode() in pages[name]
    for name, page in pages.items():
        assert betrayed(page) == [], name


def test_flower_has_one_row_for_each_event_with_what_became_of_it(run: Run) -> None:
    rows = run.seen.flower.tasks()
    row = {name: rows[event] for name, event in run.events.items()}
    failed = {name: row[name]["exception"] for name in row if row[name]["state"] != "SUCCESS"}
    assert failed.keys() == {"hopeless", "unsealable"}
    assert failed["hopeless"].startswith("Parked('parked: host_unreachable: ")
    assert failed["unsealable"].startswith("Parked('parked: unsealable: ")
    for name, event in run.events.items():
        assert row[name]["name"] == f"configdrive.{name.split('. ')[1] if '. ' in name else 'deploy'}"
        assert re.fullmatch(r"\('\w+', '[0-9a-f-]{36}', \d+, '[\w-]+'\)", row[name]["args"])
        assert row[name]["kwargs"] == "{}"
        assert row[name]["eta"] is None
        assert "During handling" not in (row[name]["traceback"] or "")  # nothing of what went before
        assert sum(uuid == event for uuid in rows) == 1


def test_celery_sends_nothing_but_wake_ups(run: Run) -> None:
    queue = f"{run.seen.site.settings.key_prefix}configdrive.simulated"
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
