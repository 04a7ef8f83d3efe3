"""The processes that the Helm chart starts: confined, with commands, settings, probes and queries that are ours."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from configdrive.client.postings import queue_name
from tests.integration.deploy.chart import VALUES, Manifest, container, named, pod, queries, render, rendered
from tests.unit.docs.commands import assert_accepted
from workers.cli.program import program
from workers.config.hypervisors import queues
from workers.config.settings import Settings
from workers.config.unknown_variables import names_of_settings
from workers.queueing.app import GRACE_SECONDS

HYPERVISORS = ("kvm", "vmware", "xenserver")
WORKERS = tuple(f"worker-{name}" for name in HYPERVISORS)


def test_a_deployment_for_each_process() -> None:
    assert set(named(rendered(), "Deployment")) == {*WORKERS, "wakeup", "storage-sweep", "flower"}


def regular_expression(query: str) -> str:
    found = re.fullmatch(
        r'sum\(max by \(queue\) \(configdrive_pending_vms\{queue=~"([^"]+)"(, namespace="fleet")?\}\)\)', query
    )
    assert found
    return found[1]


@pytest.mark.parametrize("hypervisor", HYPERVISORS)
def test_keda_asks_for_all_queues_of_the_hypervisor_and_no_others(hypervisor: str) -> None:
    expression = regular_expression(queries(rendered())[f"worker-{hypervisor}"])
    # Prometheus anchors a regular expression at both ends.
    assert re.fullmatch(expression, queue_name(hypervisor))
    assert re.fullmatch(expression, queue_name(hypervisor, "berlin-1"))
    others = [name for name in (*HYPERVISORS, f"{hypervisor}2") if name != hypervisor]
    assert not any(re.fullmatch(expression, queue_name(name)) for name in others)


def test_workers_of_zones_are_scaled_on_the_queues_that_they_take_from() -> None:
    zones = VALUES["zones"]["settings"]["zones"]
    manifests = rendered("zones")
    expression = regular_expression(queries(manifests)["worker-kvm-berlin"])
    command, *words = container(manifests, "worker-kvm-berlin")["args"]
    found = program.get_command(program.make_context("configdrive", [command, *words]), command)
    assert found is not None
    served = found.make_context(command, list(words)).params["zones"]
    every = queues(Settings(zones=tuple(zones)), "kvm")
    assert [name for name in every if re.fullmatch(expression, name)] == [queue_name("kvm", zone) for zone in served]


def test_several_fleets_share_a_prometheus() -> None:
    for query in queries(rendered("all there is")).values():
        assert regular_expression(query)
        assert 'namespace="fleet"' in query


@pytest.mark.parametrize("values", VALUES)
def test_pods_are_confined_and_their_commands_and_settings_are_known(values: str) -> None:
    manifests = rendered(values)
    pods = [pod(manifests, name)["spec"] for name in named(manifests, "Deployment")]
    for one in (*pods, named(manifests, "Pod")["doctor"]["spec"]):
        assert one["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert one["automountServiceAccountToken"] is False
        assert one["enableServiceLinks"] is False
        for part in (*one["initContainers"], *one["containers"]):
            assert part["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
        memory = [volume["name"] for volume in one["volumes"] if volume.get("emptyDir") == {"medium": "Memory"}]
        assert memory == ["run"], "secrets are copied to memory only"
        (part,) = one["containers"]
        assert_accepted(part.get("args") or part["command"][2].partition(" exec configdrive ")[2].split())
        for variable in part["env"]:
            if variable["name"].startswith("CONFIGDRIVE_") and variable["name"] != "CONFIGDRIVE_SETTINGS":
                assert variable["name"].removeprefix("CONFIGDRIVE_").lower() in names_of_settings()


@pytest.mark.parametrize("values", ["default", "all there is"])
@pytest.mark.parametrize("name", [*WORKERS, "storage-sweep"])
def test_grace_period_lets_the_longest_event_end(values: str, name: str) -> None:
    limit = VALUES[values].get("settings", {}).get("task_seconds", Settings().task_seconds)
    manifests = rendered(values)
    assert pod(manifests, name)["spec"]["terminationGracePeriodSeconds"] > limit + GRACE_SECONDS
    variables = {one["name"]: one["value"] for one in container(manifests, name)["env"]}
    assert float(variables["CONFIGDRIVE_TASK_SECONDS"]) == limit, "not whatever stands in settings.toml"


def well(part: Manifest, probe: str, alive: Path) -> bool:
    """Ask a container's probe, with a sign of life that lies here."""
    words = [word.replace("/tmp/alive", str(alive)) for word in part[probe]["exec"]["command"]]
    return not subprocess.run(words, capture_output=True, check=False, timeout=300).returncode


@pytest.mark.parametrize("name", [*WORKERS, "wakeup", "storage-sweep", "cloudstack", "cloudstack-gate"])
@pytest.mark.parametrize("probe", ["livenessProbe", "readinessProbe"])
def test_probes_tell_a_living_worker_from_a_hung_one(tmp_path: Path, name: str, probe: str) -> None:
    part, alive = container(rendered("all there is"), name), tmp_path / "alive"
    assert not well(part, probe, alive)
    alive.touch()
    assert well(part, probe, alive)
    os.utime(alive, (time.time() - 3 * 3600,) * 2)
    assert not well(part, probe, alive)


@pytest.mark.parametrize("seconds", [10, 3600, 86_400])
def test_a_storage_sweep_is_alive_between_two_rounds(tmp_path: Path, seconds: int) -> None:
    part = container(render({"storageSweep": {"everySeconds": seconds}}), "storage-sweep")
    assert part["args"] == ["sweep", "--every", str(seconds)]
    alive = tmp_path / "alive"
    alive.touch()
    for age, expected in ((seconds + 60, True), (2 * seconds + 600, False)):
        os.utime(alive, (time.time() - age,) * 2)
        assert well(part, "livenessProbe", alive) is expected


def test_key_file_is_readable_for_the_worker_alone(tmp_path: Path) -> None:
    (init,) = pod(rendered(), "worker-kvm")["spec"]["initContainers"]
    for folder in ("secrets", "run"):
        (tmp_path / folder).mkdir()
    for file in ("keys.json", "settings.toml"):
        (tmp_path / "secrets" / file).write_text("{}")
        (tmp_path / "secrets" / file).chmod(0o440)  # as kubelet mounts them for a pod with a group
    line = (
        init["command"][2].replace("/secrets/", f"{tmp_path}/secrets/").replace("/run/configdrive/", f"{tmp_path}/run/")
    )
    subprocess.run(["/bin/sh", "-c", line], check=True)
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "run").iterdir()} == {0o400}
