"""Spans of a real worker, as a collector gets them."""

from pathlib import Path

from configdrive.errors import TransientCode
from rigs.simulated.faults import Raise
from tests.e2e.known_secrets import PASSWORD, USER_DATA, betrayed
from tests.e2e.site import QUICK, Site, new_vm
from tests.integration.metrics.collector import Collector
from tests.support import require_rig, wait_until
from workers.hypervisors.simulated.inventory import Verb

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PUBLISHERS_SPAN = "00f067aa0ba902b7"


def test_an_event_and_its_steps_are_spans_below_the_publisher_s(tmp_path: Path) -> None:
    with Collector() as collector:
        with require_rig():
            site = Site(tmp_path, settings={**QUICK, "traces_url": collector.url, "lease_seconds": 30})
        with site:
            vm = new_vm()
            site.inject(Raise(verb=Verb.ATTACH, code=TransientCode.HOST_UNREACHABLE, vm=vm.uuid, times=1))
            guest = {"password": PASSWORD, "user_data": {"text": USER_DATA}}
            event = vm.event("deploy", guest=guest, start=True)
            event["traceparent"] = f"00-{TRACE}-{PUBLISHERS_SPAN}-01"
            site.outcome(event)
            (worker,) = site.workers
            worker.terminate()  # the last spans go when a child ends in order
            worker.wait_ended(20)
        wait_until(lambda: len(collector.spans) >= 8, "the spans", timeout=10)

    attempts = [span for span in collector.spans if span.parent == PUBLISHERS_SPAN]
    assert [span.attributes["configdrive.attempt"] for span in attempts] == [1, 2]
    first, second = attempts
    assert {span.trace for span in collector.spans} == {TRACE}
    assert first.name == second.name == "configdrive deploy"
    assert (first.failed, second.failed) == ("host_unreachable", None)
    assert (first.attributes["configdrive.end"], second.attributes["configdrive.end"]) == ("retry", "applied")
    assert first.attributes["configdrive.code"] == "host_unreachable"
    assert second.attributes["configdrive.event.id"] == event["id"]
    assert second.attributes["configdrive.vm.uuid"] == vm.uuid
    assert second.attributes["messaging.destination.name"] == "configdrive.simulated"

    steps = {parent.id: [span for span in collector.spans if span.parent == parent.id] for parent in attempts}
    names = [span.name for span in steps[first.id]]
    assert names == ["observe", "build", "upload", "attach"]
    assert [span.failed for span in steps[first.id]] == [None, None, None, "host_unreachable"]
    assert "attach" in [span.name for span in steps[second.id]]
    assert len(attempts) + sum(map(len, steps.values())) == len(collector.spans)
    for parent in attempts:
        assert 0 < sum(span.seconds for span in steps[parent.id]) <= parent.seconds

    assert collector.raw
    for body in (*collector.raw, repr(collector.spans).encode(), site.log.encode()):
        assert betrayed(body) == []


def test_a_collector_that_is_away_holds_nothing_up(tmp_path: Path) -> None:
    with Collector() as nobody:
        pass
    with require_rig():
        site = Site(tmp_path, settings={**QUICK, "traces_url": nobody.url}, options=["--pool", "threads"])
    with site:
        assert site.outcome(new_vm().event("deploy")).status == "applied"
        (worker,) = site.workers
        worker.terminate()
        assert worker.wait_ended(20) == 0
    assert "Traceback" not in site.log
