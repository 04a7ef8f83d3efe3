"""deploy/redis/users.acl.template on a real Redis: each role can do its whole work, and nothing beside it."""

import json
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from configdrive.lifecycle.settled import Verified
from configdrive.model import HostName, VmUuid
from tasks.mailbox import Held, Leftover, OperatorAction
from tests.integration.deploy.compose import Stack, begun, configdrive
from tests.mailboxes import QUEUE, Store, again, finish, new_vm, outcome, park, posting, receipts
from workers.store.inspection import Inspection

PREFIX = "configdrive:"
EVENT = "an-event-that-waits"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with begun(tmp_path_factory.mktemp("acl")) as stack:
        yield stack


@pytest.fixture(scope="module")
def publisher(stack: Stack) -> Iterator[Inspection]:
    with stack.client("publisher") as client:
        yield Store(client, prefix=PREFIX).mailbox


@pytest.fixture(scope="module")
def worker(stack: Stack) -> Iterator[Store]:
    with stack.client("worker") as client:
        yield Store(client, prefix=PREFIX)


# --- what each role has to do -----------------------------------------------------------------------------------------


def test_a_publisher_can_put_events_whatever_their_vm_is_at(publisher: Inspection, worker: Store) -> None:
    vm = new_vm()
    item = posting(vm)
    assert publisher.put(item).accepted
    assert not publisher.put(item).accepted
    assert (item.header.key, 1) in worker.sent(), "a worker is woken"
    worker.mailbox.done(worker.claim(item.header), again(300))
    for kind in ("start", "stop"):
        assert publisher.put(posting(vm, kind)).accepted
    assert (item.header.key, 2) in worker.sent(), "a stop ends a back-off"
    parked = worker.parked(new_vm())
    for kind in ("start", "destroy"):
        assert publisher.put(posting(parked.vm_uuid, kind)).accepted
    assert (parked.key, 1) in worker.sent(), "a destroy goes through"
    answers = publisher.put_many([posting(new_vm()) for _ in range(3)])
    assert all(receipt.accepted for receipt in receipts(answers))


def test_a_publisher_can_wait_for_outcomes_and_gets_duplicates_answered(publisher: Inspection, worker: Store) -> None:
    item = posting(new_vm())
    publisher.put(item)
    position = publisher.end_of_outcomes()
    assert publisher.outcome_of(item.header.key) is None
    claim = worker.claim(item.header)
    worker.mailbox.done(claim, finish(claim))
    assert [found for _, found in publisher.outcomes(position, 0.1)] == [outcome(item.header)]
    assert publisher.outcome_of(item.header.key) == outcome(item.header)
    assert publisher.put(item).first == outcome(item.header)


def test_a_worker_can_do_all_that_is_done_with_a_mailbox(worker: Store) -> None:
    vm, mailbox = new_vm(), worker.mailbox
    first, second = worker.put(vm), worker.put(vm)
    claim = worker.claim(first)
    assert mailbox.renew(claim)
    mailbox.done(claim, finish(claim))
    claim = worker.claim(second)
    mailbox.done(claim, park(claim))
    assert [uuid for uuid, _ in mailbox.parked(10)][-1] == vm
    assert mailbox.act(vm, second.key, OperatorAction.RETRY, None) is None
    assert mailbox.act(vm, second.key, OperatorAction.SKIP, outcome(second, at=2.0)) is None
    held = mailbox.hold(vm)
    assert isinstance(held, Held)
    mailbox.release(held, "state", finished=Leftover(QUEUE, HostName("h1")))
    assert mailbox.snapshot(vm).state == "state"
    assert mailbox.view(vm) is not None
    mailbox.wake_due(QUEUE, 10)
    mailbox.ask_hosts(QUEUE, 30)
    mailbox.try_parked(QUEUE, 30)
    mailbox.question_arrived(QUEUE, HostName("h1"), 0)
    mailbox.note_doubt(claim.header.queue, claim.vm_uuid)
    (doubt,) = mailbox.doubts(QUEUE)
    held = mailbox.hold(vm)
    assert isinstance(held, Held)
    mailbox.release_verified(held, doubt, Verified(intents=mailbox.intents(vm)))
    assert mailbox.doubts(QUEUE) == []
    assert mailbox.leftovers(QUEUE) == {}
    mailbox.dead_letters(10)
    assert QUEUE in mailbox.pending()


def test_who_has_the_list_alone_can_put_an_event_there_and_read_what_became_of_it(stack: Stack, worker: Store) -> None:
    """A real client of that role: tests/integration/deploy/test_compose.py."""
    header = worker.put(new_vm())
    with stack.client("intake") as client:
        assert client.xrevrange(f"{PREFIX}outcomes", count=1) is not None
        assert client.lpush(f"{PREFIX}intake", "an event") == 1
        claim = worker.claim(header)
        worker.mailbox.done(claim, finish(claim))
        ((_stream, entries),) = client.xread({f"{PREFIX}outcomes": "0"})
        assert header.key.encode() in {fields[b"event"] for _, fields in entries}
        assert client.get(f"{PREFIX}seen:{header.key}")
    with stack.client("worker") as client:
        client.delete(f"{PREFIX}intake")


ROLES = {"worker": 0, "publisher": 4, "cloudstack": 4, "intake": 4, "flower": 6}
"""Each role, and how many of the five things that `doctor` looks at on Redis it may not see."""


@pytest.mark.parametrize(("role", "unseen"), ROLES.items())
def test_doctor_says_to_each_role_what_it_may_not_see_and_finds_nothing_wrong(
    stack: Stack, role: str, unseen: int
) -> None:
    inventory = stack.directory / ".config/configdrive/inventory.toml"
    if role == "worker":
        inventory.parent.mkdir(parents=True)
        inventory.write_text(f'[simulated]\ndirectory = "{stack.directory}"\nhosts.h1.storages.p1 = {{}}\n')
    found = json.loads(configdrive(stack, role, "doctor", "--json"))["findings"]
    inventory.unlink(missing_ok=True)
    assert [one for one in found if one["level"] == "fail"] == []
    skipped = [one["detail"] for one in found if one["level"] == "skip"]
    assert len(skipped) == unseen, skipped
    assert all(detail.startswith("this login may not see ") for detail in skipped)


@pytest.mark.parametrize(
    "words", ["show {vm}", "event stop --vm {vm} --name i-1 --hypervisor simulated --sequence next"]
)
def test_a_command_that_its_login_may_not_do_says_so_and_ends_with_78(stack: Stack, words: str) -> None:
    with pytest.raises(AssertionError, match="does not allow this user what this command needs") as caught:
        configdrive(stack, "publisher", *words.format(vm=new_vm()).split())
    assert "deploy/redis/users.acl.template" in str(caught.value)


# --- what none may ----------------------------------------------------------------------------------------------------

THE_SERVER = (
    "KEYS *",
    "MONITOR",
    "FLUSHALL",
    "FLUSHDB",
    "SWAPDB 0 1",
    "CONFIG GET requirepass",
    "CONFIG SET dir /tmp",
    "CONFIG REWRITE",
    "ACL LIST",
    "ACL SETUSER worker +@all",
    "SCRIPT FLUSH",
    "SCRIPT KILL",
    "FUNCTION FLUSH",
    "FUNCTION DELETE x",
    "MODULE LIST",
    "SHUTDOWN NOSAVE",
    "SAVE",
    "REPLICAOF 127.0.0.1 1",
    "MIGRATE 127.0.0.1 1 k 0 1",
    "SLOWLOG GET",
    "CLIENT LIST",
    "CLIENT KILL TYPE normal",
    "CLIENT PAUSE 1000",
    "GET another:fleet",
    "SET another:fleet x",
    "PUBLISH another:channel x",
    "PUBLISH {p}x x",
    "SUBSCRIBE another:channel",
)
"""No role may these."""
OF_WORKERS = ("SCAN 0", "INFO", "EVAL 'return 0' 0", "FUNCTION LOAD x", "FUNCTION LIST")
"""No other role may these."""
FORBIDDEN: dict[str | None, tuple[str, ...]] = {
    "publisher": (
        # what waits for a VM, its content, what is remembered of it
        "LRANGE {p}mail:{vm} 0 -1",
        "LPOP {p}mail:{vm}",
        "LMOVE {p}mail:{vm} {p}configdrive.x LEFT LEFT",
        "HGET {p}body:{vm} {event}",
        "HMGET {p}body:{vm} {event}",
        "HGETALL {p}body:{vm}",
        "HRANDFIELD {p}body:{vm}",
        "HGET {p}vm:{vm} state",
        "HMGET {p}vm:{vm} state",
        "HGETALL {p}vm:{vm}",
        "DUMP {p}vm:{vm}",
        "COPY {p}vm:{vm} {p}celeryev.x",
        "RENAME {p}vm:{vm} {p}celeryev.x",
        "SORT {p}queues BY nosort GET {p}vm:*->state",
        # what others do
        "DEL {p}mail:{vm}",
        "SET {p}mail:{vm} x",
        "SET {p}seen:{event} x GET",
        "XADD {p}outcomes * event x outcome x",
        "LPUSH {p}dead x",
        "SET {p}orphans x",
        "ZADD {p}left:q 1 x",
        "BRPOP {p}configdrive.simulated 1",
        "LRANGE {p}configdrive.simulated 0 -1",
        "HGETALL {p}unacked",
        "HGETALL {p}queue:configdrive.simulated",
        "ZRANGE {p}wakeups:configdrive.simulated 0 -1",
        "ZRANGE {p}due:configdrive.simulated 0 -1",
        "SADD {p}_kombu.binding.celery.pidbox x",
        "LPUSH {p}x.celery.pidbox x",
        "PUBLISH {p}/0.celery.pidbox x",
        "PUBLISH {p}/0.celeryev/worker.heartbeat x",
        "SUBSCRIBE {p}/0.celery.pidbox",
    ),
    "intake": (
        # the list itself, but for its one end
        "RPUSH {p}intake x",
        "LRANGE {p}intake 0 -1",
        "RPOP {p}intake",
        "DEL {p}intake",
        "LPUSH {p}intake:taken x",
        "SET {p}intake:lease x",
        # what others do
        "LPUSH {p}configdrive.simulated x",
        "LPUSH {p}dead x",
        "RPUSH {p}mail:{vm} x",
        "LINDEX {p}mail:{vm} 0",
        "XADD {p}outcomes * event x outcome x",
        "SET {p}seen:{event} x",
        "HGETALL {p}vm:{vm}",
        "HGET {p}body:{vm} {event}",
        "FCALL configdrive_put_v1 0 x",
        "SCRIPT LOAD x",
        "LPUSH another:fleet x",
    ),
    "worker": ("RESTORE {p}vm:{vm} 0 x", "SORT {p}queues"),
    "flower": (
        "LRANGE {p}mail:{vm} 0 -1",
        "HGETALL {p}vm:{vm}",
        "HGETALL {p}body:{vm}",
        "GET {p}seen:{event}",
        "XREAD STREAMS {p}outcomes 0",
        "RPUSH {p}mail:{vm} x",
        "HSET {p}vm:{vm} state x",
        "HSET {p}body:{vm} x y",
        "SET {p}seen:{event} x",
        "ZADD {p}due:q 1 x",
        "DEL {p}parked",
        "LPUSH {p}configdrive.simulated x",
        "LPUSH {p}dead x",
        "HSET {p}unacked tag message",
        "ZADD {p}unacked_index 1 tag",
        "LRANGE {p}configdrive.simulated 0 -1",
        "PSUBSCRIBE {p}*",
    ),
    None: ("GET {p}queues", "SUBSCRIBE {p}x", "ACL WHOAMI"),
}
FORBIDDEN["cloudstack"] = (  # a publisher, but for dead letters: it adds them, and does not read them
    *(one for one in FORBIDDEN["publisher"] if one != "LPUSH {p}dead x"),
    "LRANGE {p}dead 0 -1",
    "DEL {p}dead",
    "FCALL configdrive_put_v1 0 x",
    "LPUSH {p}intake x",
)


@pytest.fixture(scope="module")
def vm(worker: Store) -> VmUuid:
    """A VM of which something waits and something is remembered."""
    uuid = new_vm()
    claim = worker.claim(worker.put(uuid))
    worker.mailbox.done(claim, finish(claim, "what is remembered"))
    worker.mailbox.put(posting(uuid, event_id=EVENT))
    return uuid


@pytest.mark.parametrize("role", FORBIDDEN)
def test_a_role_may_not(stack: Stack, vm: VmUuid, role: str | None) -> None:
    commands = (*THE_SERVER, *(() if role == "worker" else OF_WORKERS), *FORBIDDEN[role])
    with stack.client(role) as client:
        assert [one for one in commands if not refused(client, one.format(p=PREFIX, vm=vm, event=EVENT))] == []


def refused(client: Any, command: str) -> bool:  # noqa: ANN401 - its commands are untyped
    try:
        client.execute_command(*shlex.split(command))
    except (redis.exceptions.NoPermissionError, redis.exceptions.AuthenticationError):
        return True
    return False


SCRIPTS = (
    "return redis.call('HGET', KEYS[1], 'state')",
    "return redis.call('HMGET', KEYS[1], 'state')",
    "return redis.call('HGETALL', KEYS[1])",
    "return redis.call('HINCRBY', KEYS[1], 'state', 0)",
    "return redis.pcall('HGETALL', KEYS[2])",
    "return redis.call('LRANGE', KEYS[3], 0, -1)",
    "return redis.call('SORT', KEYS[3], 'BY', 'nosort', 'GET', KEYS[1] .. '->state')",
    "return redis.call('FLUSHALL')",
    "return redis.call('KEYS', '*')",
)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_of_a_publisher_s_own_can_do_no_more_than_the_publisher(stack: Stack, vm: VmUuid, script: str) -> None:
    """Redis checks the commands within a script against the login of whoever calls it."""
    keys = [f"{PREFIX}{kind}:{vm}" for kind in ("vm", "body", "mail")]
    with stack.client("publisher") as client:
        digest: Any = client.script_load(script)
        try:
            reported: Any = client.evalsha(digest, len(keys), *keys)
        except redis.exceptions.ResponseError as error:
            reported = str(error)
    refusals = ("can't run this command", "can't access at least one of the keys", "hash value is not an integer")
    assert any(refusal in str(reported) for refusal in refusals), reported


def test_what_a_publisher_can_read_of_a_vm_is_the_headers_that_wait(stack: Stack, vm: VmUuid) -> None:
    """It has to be able to name the event that it wakes a worker for; SECURITY.md says so."""
    with stack.client("publisher") as client:
        header: Any = client.lindex(f"{PREFIX}mail:{vm}", 0)
        assert EVENT.encode() in header
        assert client.hexists(f"{PREFIX}vm:{vm}", "state")
