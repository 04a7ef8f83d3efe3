"""Any life of a VM, delivered in any way: in order, doubled, late, out of order, and said in several forms.

A state machine like CloudStack's own leads a VM through its states; each change is published, and each message reaches
the adapter some time later. What was published must be a life that makes sense, and end where the VM is.
"""

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.workers.cloudstack.cloud import Cloud
from tests.unit.workers.cloudstack.recorded import UUID, action, job, short, state
from workers.cloudstack.adapter import Result
from workers.cloudstack.ports import Power
from workers.config.cloudstack import StartAt

HOSTS = ("h1", "h2", "h3")
NEXT = {
    "Stopped": ("Starting", "Destroyed"),
    "Starting": ("Running", "Stopped", "Starting"),
    "Running": ("Stopping", "Migrating", "Stopped"),
    "Migrating": ("Running", "Stopped"),
    "Stopping": ("Stopped", "Running"),
    "Destroyed": ("Stopped", "Expunging"),
    "Expunging": (),
}
ON, OFF = {"Running", "Migrating", "Stopping"}, {"Stopped", "Destroyed"}


@dataclass(frozen=True)
class Moment:
    """The VM comes into a state, on a host (while it migrates: the destination), at a second."""

    old: str
    new: str
    host: str | None
    second: int


@st.composite
def lives(draw: st.DrawFn) -> list[Moment]:
    """Return a life, each change at a second of its own."""
    moments: list[Moment] = []
    now, host, source, second = "Stopped", None, None, 0
    for _ in range(draw(st.integers(1, 14))):
        if not NEXT[now]:
            break
        new = draw(st.sampled_from(NEXT[now]))
        if new == "Starting" or (new == "Migrating" and host):
            source, host = host, draw(st.sampled_from([name for name in HOSTS if name != host]))
        elif now == "Migrating" and new == "Running" and draw(st.booleans()):
            host = source
        elif new in OFF:
            host = None
        second += draw(st.integers(1, 3))
        moments.append(Moment(now, new, host, second))
        now = new
    return moments


ACTIONS = {"Running": "VM.START", "Stopped": "VM.STOP", "Destroyed": "VM.DESTROY", "Expunging": "VM.EXPUNGE"}


def published_life(cloud: Cloud) -> list[str]:
    """Check that what was published is a life that makes sense; return it."""
    on = False
    for word in cloud.types:
        kind = word.partition(" ")[0]
        assert kind in {"start", "stop", "migrate", "destroy"}
        assert kind != "migrate" or on
        on = (on or kind == "start") and kind not in {"stop", "destroy"}
    kinds = [word.partition(" ")[0] for word in cloud.types]
    assert not any(one == other == "stop" for one, other in pairwise(kinds))
    assert kinds.count("destroy") <= 1
    assert "destroy" not in kinds[:-1]
    sequences = [event.data.sequence for event in cloud.events]
    assert sequences == sorted(set(sequences))
    return cloud.types


def agrees(cloud: Cloud, last: Moment) -> None:
    """Check that the fleet knows where the VM is in the end."""
    if not cloud.events:
        assert last.new != "Running"
        return
    published = cloud.memory.read(UUID)
    assert published.gone == (last.new == "Expunging")
    if last.new == "Running":
        assert (published.power, published.host, published.moving_to) == (Power.ON, last.host, None)
    if last.new in OFF:
        assert published.power is not Power.ON


@given(life=lives(), doubled=st.booleans())
def test_in_order_each_boot_and_each_end_is_published_once(*, life: list[Moment], doubled: bool) -> None:
    cloud = Cloud()
    for moment in life:
        cloud.now(moment.new, moment.host)
        payload = state(moment.old, moment.new, moment.second)
        cloud.take(payload)
        if doubled:
            assert cloud.take(payload).result is Result.DUPLICATE
        cloud.take(state(moment.old, moment.new, moment.second, post=False))

    boots = sum(moment.new == "Running" and moment.old == "Starting" for moment in life)
    expected = sum(moment.new == "Stopped" and moment.old in ON for moment in life)
    types = [word.partition(" ")[0] for word in published_life(cloud)]
    assert (types.count("start"), types.count("stop")) == (boots, expected)
    agrees(cloud, life[-1])


@given(lives(), st.data(), st.sampled_from(StartAt))
def test_however_late_doubled_and_mixed_it_comes_the_end_is_right(
    life: list[Moment], data: st.DataObject, start_at: StartAt
) -> None:
    cloud = Cloud(start_at=start_at)
    deliveries: list[tuple[float, bytes]] = []
    for number, moment in enumerate(life):
        forms = [state(moment.old, moment.new, moment.second)]
        event = ACTIONS.get(moment.new)
        if event is not None:
            said = [action(event, moment.second), short(event), job(event, f"job-{number}", expunge="false")]
            forms += data.draw(st.lists(st.sampled_from(said), max_size=2))
        for payload in forms:
            for _ in range(data.draw(st.integers(1, 2))):
                delay = data.draw(st.integers(0, 12) if payload is not forms[0] else st.integers(0, 6))
                deliveries.append((moment.second + delay, payload))
    deliveries.sort(key=lambda delivery: delivery[0])
    for second, payload in deliveries:
        past = [moment for moment in life if moment.second <= second]
        cloud.now(past[-1].new, past[-1].host)
        cloud.take(payload)

    published_life(cloud)
    agrees(cloud, life[-1])
