"""The Helm chart: Kubernetes, KEDA and Prometheus' operator take what it makes of values, and it refuses typos."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from configdrive import __version__
from tests.integration.deploy.chart import (
    CHART,
    NAMESPACE,
    RELEASE,
    VALUES,
    Manifest,
    Values,
    check,
    files_of,
    helm,
    named,
    pod,
    render,
    rendered,
)
from tests.integration.deploy.compose import ROOT
from workers.cli.program import program
from workers.config.cloudstack import CloudStackSettings
from workers.config.settings import Settings, load_settings

MADE_BY_THE_CHART = {"keys_file", "inventory", "health_file", "metrics_port", "metrics_address"}
SECRET = {"redis_url", "sentinel_password"}
OF_ONE_PROCESS = {"cloudstack"}
"""They stand in `cloudstack.settings`."""
SECRET_OF_CLOUDSTACK = {"amqp_url"}
FILES_OF_WEBHOOKS = ("webhook_secret_file", "webhook_certificate", "webhook_certificate_key")
FILES_OF_THE_GATE = ("gate_tokens_file", "gate_certificate", "gate_certificate_key")
FILES_OF_CLOUDSTACK = {"key_file", *FILES_OF_WEBHOOKS, *FILES_OF_THE_GATE}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_helm_has_nothing_to_say_against_it(values: Values) -> None:
    report = helm().lint(CHART, values, strict=True, namespace=NAMESPACE, kube_version="v1.37.0")
    assert report["errors"] == []
    assert [one["error"] for one in report["messages"]] == ["icon is recommended"]


def test_those_who_take_the_objects_know_every_field_and_would_find_another() -> None:
    for one in {json.dumps(each): each for name in VALUES for each in rendered(name)}.values():
        check(one)
    by_kind = {one["kind"]: one for one in rendered("all there is") if "spec" in one}
    for one in by_kind.values():
        with pytest.raises((AssertionError, kubernetes_validate.ValidationError)):
            check({**one, "spec": {**one["spec"], "replcas": 2}})


@pytest.mark.parametrize("case", VALUES)
def test_what_objects_refer_to_is_there_and_no_name_is_twice(case: str) -> None:
    values, manifests = VALUES[case], rendered(case)
    assert {one["metadata"]["namespace"] for one in manifests} == {NAMESPACE}
    names = [(one["kind"], one["metadata"]["name"]) for one in manifests]
    assert len(names) == len(set(names))
    deployments = named(manifests, "Deployment")
    found = {name: one["spec"]["template"]["metadata"]["labels"] for name, one in deployments.items()}

    def selected(labels: dict[str, str]) -> list[str]:
        return [name for name, having in found.items() if labels.items() <= having.items()]

    for name, one in deployments.items():
        assert selected(one["spec"]["selector"]["matchLabels"]) == [name]
        spec = one["spec"]["template"]["spec"]
        volumes = {volume["name"] for volume in spec["volumes"]}
        for part in (*spec["initContainers"], *spec["containers"]):
            assert {mount["name"] for mount in part["volumeMounts"]} <= volumes
    workers = [name for name in deployments if name.startswith("worker-")]
    for kind in ("PodDisruptionBudget", *(["ScaledObject"] if values.get("keda", {}).get("enabled", True) else [])):
        assert sorted(named(manifests, kind)) == sorted(workers)
    for name, budget in named(manifests, "PodDisruptionBudget").items():
        assert selected(budget["spec"]["selector"]["matchLabels"]) == [name]
    for name, service in named(manifests, "Service").items():
        assert selected(service["spec"]["selector"]) == [name]
        (part,) = deployments[name]["spec"]["template"]["spec"]["containers"]
        assert {one["targetPort"] for one in service["spec"]["ports"]} <= {one["name"] for one in part["ports"]}
    for monitor in named(manifests, "PodMonitor").values():
        assert set(selected(monitor["spec"]["selector"]["matchLabels"])) == set(found)
        assert found["storage-sweep"][monitor["spec"]["jobLabel"]] == "configdrive", "the job that the alert rules name"


def test_another_hypervisor_is_one_entry() -> None:
    before, after = rendered(), render({"workers": {"simulated": {"enabled": True}}})
    added = [one for one in after if one not in before]
    assert sorted((one["kind"], one["metadata"]["name"]) for one in added) == [
        (kind, f"{RELEASE}-worker-simulated") for kind in ("Deployment", "PodDisruptionBudget", "ScaledObject")
    ]
    assert [one for one in before if one not in after] == []
    # And one that this version does not know yet: its image may.
    assert pod(render({"workers": {"hyperv": {}}}), "worker-hyperv")["spec"]["containers"][0]["args"][-1] == "hyperv"


def test_an_entry_s_own_values_go_before_those_of_all_pods() -> None:
    manifests = rendered("zones")
    berlin, plain = pod(manifests, "worker-kvm-berlin")["spec"], pod(manifests, "worker-kvm")["spec"]
    assert berlin["nodeSelector"] == {"topology.kubernetes.io/zone": "berlin"}
    assert "nodeSelector" not in plain
    assert berlin["containers"][0]["resources"]["limits"] == {"memory": "2Gi"}
    assert berlin["containers"][0]["resources"]["requests"] == plain["containers"][0]["resources"]["requests"]


def test_without_keda_the_number_of_workers_is_that_of_the_values() -> None:
    deployments = named(rendered("without KEDA"), "Deployment")
    assert {name: one["spec"].get("replicas") for name, one in deployments.items() if name.startswith("worker")} == {
        "worker-kvm": 7,
        "worker-xenserver": 2,
        "worker-vmware": 2,
    }
    for name, one in named(rendered(), "Deployment").items():  # an upgrade would undo what KEDA has set
        assert ("replicas" in one["spec"]) == (not name.startswith("worker-"))


def secrets(value: Any) -> Iterator[str]:  # noqa: ANN401  # any part of a manifest
    if isinstance(value, dict):
        yield from ([value["secretName"]] if "secretName" in value else [])
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from secrets(one)


def test_secrets_are_those_of_the_values_and_none_is_made() -> None:
    manifests = rendered("secrets of one's own")
    assert named(manifests, "Secret") == {}
    assert set(secrets(manifests)) == {"vault-worker", "vault-hosts", "vault-flower"}
    assert set(secrets(pod(manifests, "flower"))) == {"vault-flower"}
    assert set(secrets(pod(manifests, "wakeup"))) == {"vault-worker"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sweper": {}}, "'sweper' not allowed"),
        ({"workers": {"kvm": {"maxReplica": 3}}}, "/workers/kvm': additional properties 'maxReplica'"),
        ({"workers": {"KVM": {}}}, "'KVM'"),
        ({"workers": {"kvm": {"zones": ["berlin-1"]}}}, 'workers.kvm.zones: "berlin-1" is not in settings.zones'),
        ({"workers": {"kvm": {"minReplicas": 21}}}, "workers.kvm: minReplicas (21) is more than maxReplicas (20)"),
        ({"workers": {"kvm": {"resource": {}}}}, "'resource' not allowed"),
        ({"settings": {"taks_seconds": 60}}, "/settings': additional properties 'taks_seconds'"),
        ({"settings": {"redis_url": "redis://:swordfish@redis/0"}}, "'redis_url' not allowed"),
        ({"settings": {"task_seconds": "300"}}, "/settings/task_seconds"),
        ({"cloudstack": {"entryPoint": "kafka"}}, "/cloudstack/entryPoint"),
        ({"cloudstack": {"settings": {"amqp_url": "amqp://:swordfish@rabbit/"}}}, "'amqp_url' not allowed"),
        ({"cloudstack": {"settings": {"drives_for": "some"}}}, "/cloudstack/settings/drives_for"),
        ({"keda": {"prometheus": "prometheus:9090"}}, "/keda/prometheus"),
        ({"metrics": {"enabled": False}}, "keda.enabled: needs metrics.enabled"),
        ({"pods": {"env": [{"name": "CONFIGDRIVE_LABEL", "value": "x"}]}}, "/pods/env/0/name"),
        ({"workers": {"a" * 40: {}}}, "is too long"),
    ],
    ids=str,
)
def test_a_mistake_in_the_values_is_refused_by_its_name(wrong: Values, said: str) -> None:
    with pytest.raises(helm().HelmError) as caught:
        render(wrong)
    assert said in str(caught.value)
    assert "swordfish" not in str(caught.value)


def test_settings_that_values_may_have_are_all_but_the_secret_and_the_chart_s_own() -> None:
    with helm().Chart.load(CHART) as chart:
        names = set(chart.schema["properties"]["settings"]["properties"])
        own = set(chart.schema["properties"]["cloudstack"]["properties"]["settings"]["properties"])
    assert names == Settings.model_fields.keys() - SECRET - MADE_BY_THE_CHART - OF_ONE_PROCESS
    assert own == CloudStackSettings.model_fields.keys() - SECRET_OF_CLOUDSTACK - FILES_OF_CLOUDSTACK


def test_settings_become_what_a_process_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    (worker,) = pod(rendered("all there is"), "worker-kvm")["spec"]["containers"]
    variables = [one["name"] for one in worker["env"]]
    assert len(variables) == len(set(variables)), "the API server takes no name twice"
    for one in worker["env"]:
        if one["name"] != "CONFIGDRIVE_SETTINGS":  # its file is in the secret
            monkeypatch.setenv(one["name"], one["value"])
    settings = Settings()
    assert (settings.task_seconds, settings.outcomes_kept, settings.label) == (899.5, 100_000_000, "config-2")
    assert settings.hypervisors == ("kvm", "simulated")
    assert settings.force_eject is False
    assert settings.metrics_port == 9109


@pytest.mark.parametrize(
    ("name", "port", "settings_of_files", "files"),
    [
        (
            "cloudstack",
            {"webhook": 8443},
            FILES_OF_WEBHOOKS,
            ["webhook.secret", "webhook.pem", "webhook.key"],
        ),
        ("cloudstack-gate", {"gate": 8444}, FILES_OF_THE_GATE, ["gate.tokens", "gate.pem", "gate.key"]),
    ],
)
def test_what_is_for_cloudstack_has_secrets_and_settings_of_its_own(  # noqa: PLR0913, PLR0917  # cases
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    port: dict[str, int],
    settings_of_files: tuple[str, ...],
    files: list[str],
) -> None:
    manifests = rendered("all there is")
    assert set(secrets(pod(manifests, name))) == {"configdrive-cloudstack"}
    (adapter,) = pod(manifests, name)["spec"]["containers"]
    secret = tmp_path / "settings.toml"
    secret.write_text(
        'redis_url = "redis://cloudstack@redis.example"\n[cloudstack]\namqp_url = "amqps://rabbit.example"\n'
    )
    for one in adapter["env"]:
        at_hand = one["value"].replace("/run/configdrive/settings.toml", str(secret))
        monkeypatch.setenv(one["name"], at_hand)
    settings = load_settings()
    own = settings.cloudstack
    assert {one["name"]: one["containerPort"] for one in adapter["ports"]} == {
        **port,
        "metrics": settings.metrics_port,
    }
    assert own.url == "https://cloudstack.example/client/api"
    assert own.hosts == {"kvm1.dc.example": "kvm-01"}
    assert (own.drives_for, own.start_at, own.call_seconds, own.gate_seconds) == ("all", "running", 2, 30)
    assert pod(manifests, "cloudstack-gate")["spec"]["terminationGracePeriodSeconds"] == 45, "who waits is answered"
    assert own.amqp_url is not None, "what stands in the secret is kept"
    found = [str(getattr(own, one)) for one in ("key_file", *settings_of_files)]
    assert found == [f"/run/configdrive/{file}" for file in ("cloudstack.keys", *files)]
    for other in named(manifests, "Deployment").keys() - {"cloudstack", "cloudstack-gate"}:
        assert not any("CLOUDSTACK__" in one for one in variables(manifests, other))


@pytest.mark.parametrize(
    ("entry_point", "service", "policies"),
    [
        ("amqp", False, {"pods", "flower", "cloudstack-gate"}),
        ("webhook", True, {"pods", "flower", "cloudstack", "cloudstack-gate"}),
    ],
)
def test_only_webhooks_and_hosts_are_let_in(entry_point: str, *, service: bool, policies: set[str]) -> None:
    values = VALUES["all there is"]
    manifests = render({**values, "cloudstack": {**values["cloudstack"], "entryPoint": entry_point}})
    assert ("cloudstack" in named(manifests, "Service")) is service
    assert set(named(manifests, "NetworkPolicy")) == policies
    assert "cloudstack-gate" in named(manifests, "Service")
    assert not {"cloudstack", "cloudstack-gate"} & named(rendered(), "Deployment").keys()
    assert "cloudstack-gate" not in named(rendered("CloudStack's bus"), "Deployment")


def variables(manifests: list[Manifest], name: str) -> list[str]:
    (part,) = pod(manifests, name)["spec"]["containers"]
    return [one["name"] for one in part["env"]]


def test_a_package_of_it_is_whole(tmp_path: Path) -> None:
    """Rules and dashboard are links in the repository; in a package they have to be there themselves."""
    archive = helm().package(CHART, destination=tmp_path)
    values = VALUES["all there is"]
    assert files_of(values, path=archive) == files_of(values)
    manifests = rendered("all there is")
    rules = named(manifests, "PrometheusRule")["alerts"]["spec"]
    assert rules == yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
    dashboard = named(manifests, "ConfigMap")["dashboard"]["data"]["configdrive.json"]
    assert dashboard == (ROOT / "deploy/grafana/dashboards/configdrive.json").read_text()


def test_the_image_is_that_of_the_program_s_version() -> None:
    with helm().Chart.load(CHART) as chart:
        assert chart.metadata["appVersion"] == __version__
    images = set(re.findall(r'image: "(.*)"', "\n".join(files_of().values())))
    assert images == {f"configdrive-fleet:{__version__}"}


def test_two_releases_share_a_namespace() -> None:
    one, other = render(release="blue"), render(release="green")
    assert {each["metadata"]["name"] for each in one} & {each["metadata"]["name"] for each in other} == set()
    labels = [pod_labels(manifests, "Deployment") for manifests in (one, other)]
    assert not any(mine.items() <= yours.items() for mine in labels[0] for yours in labels[1])


def pod_labels(manifests: list[Manifest], kind: str) -> list[dict[str, str]]:
    return [one["spec"]["selector"]["matchLabels"] for one in manifests if one["kind"] == kind]


def test_the_notes_name_commands_that_there_are() -> None:
    notes = files_of()["configdrive/templates/NOTES.txt"]
    (shown,) = re.findall(r"exec deployment/(\S+) -- configdrive (\w+)", notes)
    assert shown[0].removeprefix(f"{RELEASE}-") in named(rendered(), "Deployment")
    assert CliRunner().invoke(program, [shown[1], "--help"]).exit_code == 0
    assert f"service/{RELEASE}-flower" in notes
    assert "flower" not in files_of(VALUES["workers alone"])["configdrive/templates/NOTES.txt"].lower()


def leaves(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401  # any part of the values
    if isinstance(values, dict) and values and path not in {"pods.resources", "metrics.dashboard.labels"}:
        for name, value in values.items():
            yield from leaves(value, f"{path}.{name}".lstrip("."))
    else:
        yield path, values


def test_the_readme_lists_every_value_with_its_default() -> None:
    text = (CHART / "README.md").read_text()
    reported = dict(re.findall(r"^\| `([\w.]+)` \| `(.*?)` \|", text, re.MULTILINE))
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert {name: yaml.safe_load(default) for name, default in reported.items()} == dict(leaves(values))
