"""The publisher: what comes in is checked, sealed, stored once, and a worker is woken; and its settings."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from configdrive.client import Publisher, Receipt, connect, publisher
from configdrive.client.postings import Header, Posting
from configdrive.client.settings import ClientSettings
from configdrive.contract.event_key import event_key
from configdrive.contract.events import parse
from configdrive.contract.outcome import Outcome, Status
from configdrive.contract.sealing import guest_of
from configdrive.errors import FleetError, PermanentCode, PermanentError
from configdrive.lifecycle.settled import Settled
from configdrive.model import EventId, HypervisorName, VmUuid
from tests.mailboxes import Store
from tests.support import error_of
from tests.unit.documents import OTHER_UUID, UUID, Json, document, event
from tests.unit.fakes.small import FakeSealer

SECRET = "sw0rdfish"
QUEUE = "configdrive.memory"
SOURCE = document("stop")["source"]


class Site:
    """A publisher and what is behind it."""

    def __init__(self) -> None:
        self.store = Store()
        self.sealer = FakeSealer()
        self.publisher = Publisher(
            self.store.mailbox,
            self.sealer,
            hypervisors=[HypervisorName("memory"), HypervisorName("kvm")],
            zones=["z1"],
        )

    @property
    def headers(self) -> list[Header]:
        """What waits for the VM."""
        view = self.store.mailbox.view(VmUuid(UUID))
        return [] if view is None else list(view.mail)

    def body(self) -> bytes:
        """The content of the VM's first event."""
        body: Any = self.store.client.hget(self.store.key("body", UUID), self.headers[0].key)
        return bytes(body)

    def finish(self, status: Status = Status.APPLIED) -> Outcome:
        """Let a worker finish the VM's first event."""
        header = self.headers[0]
        outcome = Outcome(
            header.event_id, header.source, header.event_type, header.vm_uuid, header.sequence, status, 1.0
        )
        self.store.mailbox.done(self.store.claim(header), Settled(outcome))
        return outcome


@pytest.fixture
def site() -> Site:
    return Site()


def refusal(site: Site, sent: Any) -> FleetError:  # noqa: ANN401 - anything that somebody may send
    caught = error_of(site.publisher.publish, sent)
    assert site.store.all_keys() == set()
    return caught


def many(count: int, **data: object) -> Iterator[Json]:
    for number in range(1, count + 1):
        yield document("update", **{"sequence": number} | data)


# --- one event --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["document", "text", "bytes", "event"])
def test_takes_an_event_in_every_form(site: Site, form: str) -> None:
    sent = document("start", guest={"password": SECRET})
    forms = {
        "document": sent,
        "text": json.dumps(sent),
        "bytes": json.dumps(sent).encode(),
        "event": parse(json.dumps(sent)),
    }
    receipt = site.publisher.publish(forms[form])
    assert receipt.accepted
    assert site.store.sent(QUEUE) == [(receipt.key, 1)]
    taken = parse(site.body())
    assert guest_of(taken, site.sealer).password is not None


def test_the_header_says_what_routes_the_event_and_nothing_else(site: Site) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    sent = document("password_reset", sequence=7, guest={"password": SECRET}) | {"traceparent": trace}
    header = site.publisher.posting(sent).header
    assert (header.event_id, header.event_type, header.vm_uuid) == ("event-7", "password_reset", UUID)
    assert (header.queue, header.sequence, header.traceparent) == ("configdrive.memory", 7, trace)


@pytest.mark.parametrize(("zone", "queue"), [("z1", "configdrive.kvm.z1"), ("z9", "configdrive.kvm"), (None, None)])
def test_a_zone_has_a_queue_of_its_own_only_where_it_is_set_up(site: Site, zone: str | None, queue: str | None) -> None:
    header = site.publisher.posting(document("stop", hypervisor="KVM", zone=zone)).header
    assert header.queue == (queue or "configdrive.kvm")


def test_secrets_are_sealed_before_anything_is_stored(site: Site) -> None:
    guest = {"password": SECRET, "user_data": {"text": SECRET}, "metadata": {"vm_id": SECRET}}
    site.publisher.publish(document("deploy", guest=guest))
    assert SECRET not in site.store.everything()


def test_an_id_that_is_known_is_not_stored_again_and_tells_the_first_outcome(site: Site) -> None:
    first = site.publisher.publish(event("deploy"))
    again = site.publisher.publish(event("deploy"))
    assert (first.accepted, again) == (True, Receipt(EventId("event-1"), SOURCE, accepted=False))
    assert len(site.store.messages(QUEUE)) == 1
    outcome = site.finish()
    assert site.publisher.publish(event("deploy")).first == outcome
    assert site.headers == []
    assert site.store.messages(QUEUE) == []


def test_only_the_first_of_a_vm_s_events_wakes_a_worker(site: Site) -> None:
    for number in (1, 2, 3):
        site.publisher.publish(event("update", sequence=number))
    assert site.store.sent(QUEUE) == [(event_key(SOURCE, "event-1"), 1)]
    site.publisher.publish(document("update", sequence=9, vm={"uuid": OTHER_UUID, "instance_name": "i"}))
    assert len(site.store.messages(QUEUE)) == 2


# --- refusals ---------------------------------------------------------------------------------------------------------


def circle() -> Json:
    sent = document("start")
    sent["data"]["guest"] = sent
    return sent


@pytest.mark.parametrize(
    "sent",
    [
        "",
        b"\xff",
        "[]",
        {},
        document("start", label="x" * 17),
        document("start", guest={"password": object()}),
        document("start", guest={"password": b"sw0rdfish"}),
        document("start", guest={"password": "sw0rdfish\ud800"}),
        document("start", sequence=float("nan")),
        {1j: "x"},
        circle(),
    ],
)
def test_what_is_no_event_is_refused_and_nothing_is_stored(site: Site, sent: Any) -> None:  # noqa: ANN401
    error = refusal(site, sent)
    assert error.code is PermanentCode.INVALID_EVENT
    assert SECRET not in repr(error)
    assert error.__context__ is None


def test_an_unknown_hypervisor_is_refused_with_those_that_are_known(site: Site) -> None:
    error = refusal(site, document("start", hypervisor="hyperv"))
    assert error.code is PermanentCode.UNKNOWN_HYPERVISOR
    assert "kvm, memory" in error.remedy


# --- many events ------------------------------------------------------------------------------------------------------


def counted(site: Site, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have the sizes of batches noted."""
    sizes: list[int] = []
    put_many = site.store.mailbox.put_many

    def put(postings: list[Posting]) -> list[Receipt | PermanentError]:
        sizes.append(len(postings))
        return put_many(postings)

    monkeypatch.setattr(site.store.mailbox, "put_many", put)
    return sizes


def test_many_events_are_stored_in_order_in_batches(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = counted(site, monkeypatch)
    receipts = site.publisher.publish_many(many(1201))
    assert sizes == [500, 500, 201]
    assert [receipt.event_id for receipt in receipts] == [f"event-{number}" for number in range(1, 1202)]
    assert [header.sequence for header in site.headers] == list(range(1, 1202))
    assert len(site.store.messages(QUEUE)) == 1, "it is one VM's events"


def test_large_events_make_smaller_batches(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "_BATCH_BYTES", 10_000)
    sizes = counted(site, monkeypatch)
    site.publisher.publish_many(many(6, guest={"user_data": {"text": "x" * 4_000}}))
    assert sizes == [2, 2, 2]


def test_events_are_read_only_as_far_as_they_are_stored(site: Site) -> None:
    read: list[int] = []

    def endless() -> Iterator[Json]:
        for number in itertools.count(1):
            read.append(number)
            yield document("update", sequence=number)

    class Enough(Exception):  # noqa: N818 - of this test
        """The progress callback's."""

    def progress(_index: int, _receipt: Receipt) -> None:
        raise Enough

    with pytest.raises(Enough):
        site.publisher.publish_many(endless(), progress=progress)
    assert len(read) == len(site.headers) == 500


def test_bad_events_may_be_reported_and_left_out_and_progress_is_reported_once_an_event_is_stored(site: Site) -> None:
    stored: list[tuple[int, str, int]] = []
    refused: list[tuple[int, str]] = []
    receipts = site.publisher.publish_many(
        [*many(2), document("update", sequence=-1), document("update", sequence=4), "nonsense"],
        refused=lambda index, error: refused.append((index, error.code)),
        progress=lambda index, receipt: stored.append((index, receipt.event_id, len(site.headers))),
    )
    assert [receipt.event_id for receipt in receipts] == ["event-1", "event-2", "event-4"]
    assert refused == [(2, PermanentCode.INVALID_EVENT), (4, PermanentCode.INVALID_EVENT)]
    assert stored == [(0, "event-1", 3), (1, "event-2", 3), (3, "event-4", 3)]


def test_at_the_first_bad_event_those_before_it_are_stored_and_none_behind(site: Site) -> None:
    events = [document("update", sequence=1), document("update", sequence=-1), document("update", sequence=3)]
    stored: list[str] = []
    with pytest.raises(PermanentError, match="sequence"):
        site.publisher.publish_many(events, progress=lambda _index, receipt: stored.append(receipt.event_id))
    assert stored == [header.event_id for header in site.headers] == ["event-1"]


# --- waiting ----------------------------------------------------------------------------------------------------------


def test_waiting_returns_when_the_outcome_comes_and_not_another_s(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2):
        site.publisher.publish(event("update", sequence=number))
    asked: list[str] = []
    outcomes = site.store.mailbox.outcomes

    def working(after: str, block_seconds: float) -> Iterator[tuple[str, Outcome | None]]:
        asked.append(after)
        assert block_seconds <= 0.25
        site.finish()
        return outcomes(after, block_seconds)

    monkeypatch.setattr(site.store.mailbox, "outcomes", working)
    found = site.publisher.wait({"source": SOURCE, "id": "event-2"}, 600)
    assert found is not None
    assert found.event_id == "event-2"
    assert len(set(asked)) == len(asked) == 2, "the position moves on"


def test_waiting_passes_over_what_a_newer_version_has_written(site: Site) -> None:
    site.publisher.publish(event("deploy"))
    client, key = site.store.client, site.store.key("outcomes")
    newer = Outcome("x", "/tests", "start", UUID, 1, Status.APPLIED, 1.0).to_json().replace('"applied"', '"postponed"')
    followed = site.publisher.outcomes("0", timeout=0.3)
    client.xadd(key, {"event": "x", "outcome": newer})
    client.xadd(key, {"foo": "bar"})
    outcome = site.finish()
    assert [found for _, found in followed] == [outcome]


# --- following --------------------------------------------------------------------------------------------------------


def test_outcomes_are_followed_from_now_on_or_from_a_position(site: Site) -> None:
    receipt, *_ = [site.publisher.publish(event("update", sequence=number)) for number in (1, 2, 3)]
    assert site.publisher.wait(receipt, 0.01) is None, "the time is over"
    first = site.finish()
    assert site.publisher.wait(receipt, 0) == first, "it has come already"
    from_now_on = site.publisher.outcomes(timeout=0.3)
    site.finish()
    ((position, second),) = from_now_on
    assert second.event_id == "event-2"
    site.finish()
    assert [found.event_id for _, found in site.publisher.outcomes(position, timeout=0.1)] == ["event-3"]
    all_of_them = [found.event_id for _, found in site.publisher.outcomes("0", timeout=0.1)]
    assert all_of_them == ["event-1", "event-2", "event-3"]


def test_of_the_outcomes_only_those_that_are_asked_for_come_each_once(site: Site) -> None:
    for number in (1, 2, 3):
        site.publisher.publish(event("update", sequence=number))
    outcomes = [site.finish() for _ in range(3)]
    wanted = [event_key(SOURCE, f"event-{number}") for number in (1, 3)]
    site.store.client.xadd(site.store.key("outcomes"), {"event": wanted[0], "outcome": outcomes[0].to_json()})
    assert list(site.store.mailbox.outcomes_of(wanted, "0", 0.1)) == [outcomes[0], outcomes[2]]
    position = next(position for position, _ in site.publisher.outcomes("0", timeout=0.1))
    assert list(site.store.mailbox.outcomes_of(wanted[1:], position, 0.1)) == [outcomes[2]]


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIGDRIVE_SETTINGS", "CONFIGDRIVE_PUBLIC_KEY", "CONFIGDRIVE_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)


def test_a_worker_s_settings_file_will_do_for_a_publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('key_prefix = "mine:"\nhypervisors = ["kvm"]\nlease_seconds = 60\n[cloudstack]\nurl = "x"\n')
    monkeypatch.setenv("CONFIGDRIVE_SETTINGS", str(file))
    with connect() as made:
        assert repr(made) == "Publisher(mine:)"
        assert made.posting(document("stop", hypervisor="kvm")).header.queue == "configdrive.kvm"
    assert repr(connect(key_prefix="other:")) == "Publisher(other:)"


def test_what_cannot_connect_is_refused_without_its_password() -> None:
    caught = error_of(connect, redis_url="http://:swordfish@redis")
    assert caught.code is PermanentCode.MISCONFIGURED
    assert "redis_url" in caught.detail
    assert "swordfish" not in repr(caught)


def test_without_a_public_key_only_what_needs_no_sealing_is_taken() -> None:
    made = connect(hypervisors=["memory"])
    made.posting(document("stop"))
    with pytest.raises(PermanentError, match="public_key"):
        made.posting(document("start", guest={"password": SECRET}))


def test_with_a_public_key_guest_data_is_sealed() -> None:
    settings = ClientSettings(hypervisors=("memory",), public_key="3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=")
    made = Publisher.of(settings, Store().mailbox)
    body = made.posting(document("start", guest={"password": SECRET})).body
    assert SECRET.encode() not in body
    assert json.loads(body)["data"]["sealed"].startswith("v1.de9edb7d7b7dc1b4.")
    with pytest.raises(PermanentError, match="base64"):
        connect(public_key="swordfish")
