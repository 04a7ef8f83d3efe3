"""A storage that hangs: it costs its own VMs only, and they go on when it answers again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from configdrive.contract.outcome import Status
from configdrive.model import HostName, StorageName
from rigs.cloud import HOST, VmScript
from rigs.process import wait_until
from rigs.simulated.faults import Hang, Point
from rigs.simulated.spans import VERBS, Span, spans_of
from tests.e2e.site import QUICK, Site
from workers.hypervisors.simulated.inventory import Verb
from workers.hypervisors.simulated.topology import StorageSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

GOOD, BAD = StorageName("good"), StorageName("bad")


def test_a_storage_that_hangs_has_one_worker_at_a_time(make_site: Callable[..., Site]) -> None:
    """Without isolation every process ends up there, again and again, until each call has timed out."""
    site = make_site(
        hosts={HostName(HOST): {GOOD: StorageSpec(), BAD: StorageSpec()}},
        settings={**QUICK, "concurrency": 4, "call_seconds": 3, "lease_seconds": 30},
    )
    site.start()
    hangs = [
        site.cloud.world.faults.inject(Hang(verb=verb, when=when, storage=BAD, seconds=3600, times=0))
        for verb, when in ((Verb.OBSERVE, Point.MIDDLE), (Verb.UPLOAD, Point.BEFORE))
    ]
    bad = [VmScript() for _ in range(8)]
    stuck = site.publish(*[vm.event("start", primary_storage=BAD) for vm in bad])
    good = [VmScript() for _ in range(60)]
    found = site.outcomes(site.publish(*[vm.event("start", primary_storage=GOOD) for vm in good]), timeout=30)
    assert {outcome.status for (outcome,) in found.values()} == {Status.APPLIED}
    before = {vm.uuid: len(spans) for vm, spans in spans(site, bad)}

    def several_were_sent_away() -> bool:
        return site.log.count('Waiting("deferred') >= len(bad)

    wait_until(several_were_sent_away, "the others to be deferred", timeout=30)
    inside = [span for vm, found in spans(site, bad) for span in found[before[vm.uuid] :] if took_long(span)]
    assert most_at_once(inside) <= 1

    for path in hangs:
        path.unlink()
    found = site.outcomes(stuck, timeout=60)
    assert {outcomes[-1].status for outcomes in found.values()} == {Status.APPLIED}
    for (_, visits), event in zip(spans(site, bad), stuck, strict=True):
        waited = sum(map(took_long, visits))
        assert found[event][-1].attempts <= 1 + waited, "being sent away is no attempt"


def spans(site: Site, vms: Iterable[VmScript]) -> list[tuple[VmScript, list[Span]]]:
    found = spans_of(site.cloud.audit(), VERBS)
    return [(vm, found.get(vm.uuid, [])) for vm in vms]


def took_long(span: Span) -> bool:
    """Whether the attempt waited there: who is sent away goes at once."""
    return span.end - span.begin > 10**9


def most_at_once(found: list[Span]) -> int:
    """Return how many of these there were at once."""
    ends = sorted([(span.begin, 1) for span in found] + [(span.end, -1) for span in found])
    most = now = 0
    for _, step in ends:
        now += step
        most = max(most, now)
    return most
