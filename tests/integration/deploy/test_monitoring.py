"""Profile `monitoring` of docker-compose.yml: Grafana leads to the Prometheus that asks the stack's own services."""

import json
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.integration.deploy.compose import ROOT, read_services

SERVICES = read_services()


def read(path: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / path).read_text("utf-8"))
    return found


def mounted(service: str, inside: str) -> str:
    """Return which directory of `deploy` a service finds at a path inside."""
    for volume in SERVICES[service]["volumes"]:
        source, target, *_ = volume.split(":")
        if target == inside:
            assert (ROOT / source).is_dir()
            return str(source).removeprefix("./deploy/")
    raise AssertionError(inside)


def test_grafana_s_data_source_is_the_stack_s_prometheus() -> None:
    assert mounted("grafana", "/etc/grafana/provisioning") == "grafana/provisioning"
    (source,) = read("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    address = urlsplit(source["url"])
    assert source["type"] == "prometheus"
    assert source["isDefault"] is True, "the dashboard's variable `datasource` begins with it"
    assert SERVICES[str(address.hostname)]["image"].startswith("prom/prometheus:")
    assert "grafana" in SERVICES
    assert SERVICES["prometheus"]["profiles"] == SERVICES["grafana"]["profiles"] == ["monitoring"]
    (port,) = SERVICES["prometheus"]["ports"]
    assert port.split(":")[-1] == str(address.port)
    assert not any(word.startswith("--web.listen-address") for word in SERVICES["prometheus"]["command"])


def test_grafana_finds_the_dashboard_where_its_file_says() -> None:
    (provider,) = read("grafana/provisioning/dashboards/configdrive.yml")["providers"]
    directory = mounted("grafana", provider["options"]["path"])
    dashboards = [json.loads(file.read_text("utf-8")) for file in (ROOT / "deploy" / directory).glob("*.json")]
    assert [one["uid"] for one in dashboards] == ["configdrive-fleet"]
    for one in dashboards:
        (variable,) = (each for each in one["templating"]["list"] if each["type"] == "datasource")
        assert variable["query"] == "prometheus"
        used = {panel["datasource"]["uid"] for panel in one["panels"] if panel["type"] != "row"}
        assert used == {f"${{{variable['name']}}}"}


def test_prometheus_asks_every_service_that_answers_it() -> None:
    configuration = read("prometheus/prometheus.yml")
    assert mounted("prometheus", "/etc/prometheus") == "prometheus"
    asked = {
        (name, places["port"])
        for job in configuration["scrape_configs"]
        for places in job["dns_sd_configs"]
        for name in places["names"]
    }
    answering = {
        (name, int(service["environment"]["CONFIGDRIVE_METRICS_PORT"]))
        for name, service in SERVICES.items()
        if "CONFIGDRIVE_METRICS_PORT" in service.get("environment", {}) and name != "wakeup"  # it asks for no port
    }
    assert asked == answering | {("flower", 5555)}
