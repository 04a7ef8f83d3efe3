"""The shipped rules and dashboard in a real Prometheus that asks real workers."""

import html
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from prometheus_client import CollectorRegistry

from docs import dashboard
from docs.generated import alerts
from rigs.browser import Browser
from rigs.prometheus import SHIPPED, Prometheus
from tests.e2e.site import new_vm, uuid_of
from tests.integration.deploy.chart import VALUES, queries, render
from tests.integration.metrics.conftest import Measured
from tests.mailboxes import posting
from tests.support import find_program, require_rig, wait_until
from workers.observability.metrics import AnswerMetrics, NoticeMetrics

CASES = Path(__file__).with_name("alerts.test.yml")
NAME = re.compile(r"\bconfigdrive_[a-z_]+")
NOT_HERE = {
    "CloudStack's notices, per minute",
    "Gate: answers to hosts, per minute",
    "Gate: how long starts wait",
}
OF_CLOUDSTACK = {
    "configdrive_cloudstack_notices_total",
    "configdrive_gate_answers_total",
    "configdrive_gate_seconds_bucket",
}


@pytest.fixture(scope="module")
def prometheus(measured: Measured, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    targets = [urlsplit(address).netloc for address in (measured.worker, measured.sweeper)]
    with require_rig():
        prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), targets)
    with prometheus:
        asked_twice = "count(rate(configdrive_attempts_total[1m])) and on () (sum(up) == 2)"
        wait_until(lambda: prometheus.query(asked_twice), "both to be asked twice", timeout=20, interval=0.1)
        yield prometheus


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((SHIPPED / "alerts.yml").read_text("utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def questions() -> dict[str, str]:
    """Return every expression of the dashboard as Grafana asks it with all hypervisors chosen, and of the rules."""
    found = {rule["alert"]: rule["expr"] for rule in rules()}
    for panel in json.loads(dashboard.SHIPPED.read_text("utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            found[f"{panel['title']} {target['refId']}"] = dashboard.asked(target["expr"], "1m")
    return found


def promtool(*arguments: str) -> str:
    with require_rig():
        program = find_program("promtool", "prometheus")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=600)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def test_each_rule_leads_to_its_section_and_each_panel_says_what_it_shows() -> None:
    page = alerts.markdown()
    for rule in rules():
        assert f"### {rule['alert']}\n" in page
        assert rule["annotations"]["runbook_url"].endswith(f"/how-to/monitoring.html#{rule['alert'].lower()}")
    panels = json.loads(dashboard.SHIPPED.read_text("utf-8"))["panels"]
    assert [one["title"] for one in panels if one["type"] != "row" and not one.get("description")] == []
    shown = " ".join(target["expr"] for one in panels for target in one.get("targets", ()))
    assert {"configdrive_intake_entries", "configdrive_orphan_images", *OF_CLOUDSTACK} <= set(NAME.findall(shown))


def test_the_configuration_and_the_rules_are_valid() -> None:
    assert f"{len(rules())} rules found" in promtool("check", "config", str(SHIPPED / "prometheus.yml"))


def test_every_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    """Prometheus' own way of testing rules: made-up series, and the alerts that they must lead to."""
    text = CASES.read_text("utf-8")
    assert set(re.findall(r'alertname="(\w+)"', text)) == {rule["alert"] for rule in rules()}
    cases = {**yaml.safe_load(text), "rule_files": [str(SHIPPED / "alerts.yml")]}
    (tmp_path / "cases.yml").write_text(yaml.safe_dump(cases), "utf-8")
    assert "SUCCESS" in promtool("test", "rules", str(tmp_path / "cases.yml"))


def test_prometheus_takes_what_workers_say(prometheus: Prometheus) -> None:
    assert all(target["health"] == "up" for target in prometheus.ask("targets")["activeTargets"])
    assert prometheus.value("max(configdrive_parked_vms)") == 1
    kinds = {name: facts[0]["type"] for name, facts in prometheus.ask("metadata").items() if NAME.match(name)}
    assert kinds["configdrive_events"] == "counter"
    assert kinds["configdrive_step_seconds"] == "histogram"
    assert kinds["configdrive_events_in_work"] == "gauge"


def test_every_metric_that_the_dashboard_and_the_rules_name_is_there(prometheus: Prometheus) -> None:
    there = set(prometheus.ask("label/__name__/values"))
    named = {name for expression in questions().values() for name in NAME.findall(expression)}
    assert len(named) > 20
    assert named - there == OF_CLOUDSTACK, "but for the adapter's and the gate's: none runs here"


@pytest.mark.parametrize("title", sorted(questions()))
def test_every_question_of_the_dashboard_and_the_rules_is_understood(prometheus: Prometheus, title: str) -> None:
    """Prometheus refuses a wrong one; and of these, all but alerts have an answer in a fleet that has worked."""
    found = prometheus.query(questions()[title])
    idle = not OF_CLOUDSTACK.isdisjoint(NAME.findall(questions()[title])) or questions()[title].endswith("> 0")
    assert found or idle or title in {rule["alert"] for rule in rules()}, "no data"


def test_the_dashboard_is_drawn_of_what_its_own_queries_find(prometheus: Prometheus, tmp_path: Path) -> None:
    """Its picture in the documentation is made so. A panel without data says why; none is cut, whatever the window."""
    end = time.time()
    times, panels = dashboard.read(prometheus, end - 20, end)
    assert {panel.title for panel in panels if panel.empty} == NOT_HERE
    assert all("nobody here exports" in panel.empty for panel in panels if panel.empty)
    page = tmp_path / "dashboard.html"
    page.write_text(dashboard.page(times, panels), "utf-8")
    browser = Browser(tmp_path)
    shown = browser.source(page.as_uri())
    assert shown.count("<canvas") == sum(panel.kind == "timeseries" and not panel.empty for panel in panels)
    assert [panel.title for panel in panels if panel.title not in html.unescape(shown)] == []
    assert browser.misfits([page.as_uri()], (390, 1400, 1920), within="body *") == []


def test_what_kubernetes_scales_on_is_the_number_of_vms_that_wait(prometheus: Prometheus, measured: Measured) -> None:
    """As the chart has KEDA ask: all zones or some, each hypervisor for itself, and zero rather than nothing."""
    asked = queries(render(VALUES["zones"]))
    assert set(asked) == {"worker-kvm", "worker-kvm-berlin", "worker-vmware", "worker-xenserver"}

    def answers() -> dict[str, float | None]:
        return {name: prometheus.value(query) for name, query in asked.items()}

    nothing = dict.fromkeys(asked, 0.0)
    assert {**nothing, **answers()} == {**nothing, "worker-kvm-berlin": None}, "no event was ever sent to its queues"
    waiting = {
        "configdrive.kvm": 1,
        "configdrive.kvm.bonn": 2,
        "configdrive.kvm.berlin-1": 3,
        "configdrive.kvm.berlin-2": 4,
    }
    for queue, number in waiting.items():
        vms = [uuid_of(new_vm()) for _ in range(number)]
        measured.site.mailbox.put_many([posting(vm, queue=queue) for vm in vms for _ in range(2)])
    try:
        expected = {**nothing, "worker-kvm": 10.0, "worker-kvm-berlin": 7.0}
        wait_until(lambda: answers() == expected, "the VMs to be counted", timeout=20, interval=0.2)
    finally:
        with measured.site.redis.client() as client:
            client.delete(*(f"{measured.site.settings.key_prefix}due:{queue}" for queue in waiting))


def test_the_names_in_the_documentation_are_those_of_the_metrics(prometheus: Prometheus) -> None:
    there = {re.sub(r"_(bucket|sum|count)$", "", name) for name in prometheus.ask("label/__name__/values")}
    text = (SHIPPED.parents[1] / "docs" / "reference" / "metrics.md").read_text("utf-8")
    documented = set(re.findall(r"^\| `(configdrive_[a-z_]+)", text, re.MULTILINE))
    registry = CollectorRegistry()
    NoticeMetrics("amqp", [], registry)  # neither adapter nor gate is a part of this fleet
    AnswerMetrics([], registry)
    others = {f"{one.name}_total" if one.type == "counter" else one.name for one in registry.collect()}
    assert documented == {name for name in there if NAME.fullmatch(name)} | others


def test_a_parked_vm_raises_the_alert(prometheus: Prometheus) -> None:
    assert prometheus.value("max(configdrive_parked_vms)") == 1
    wait_until(lambda: "ConfigDriveVmParked" in prometheus.firing(), "the alert", timeout=15, interval=0.1)
    assert prometheus.firing() == {"ConfigDriveVmParked"}
