"""deploy/kubernetes: manifests that Kubernetes' own schemas accept, and whose commands, probes and queries are ours."""

from __future__ import annotations

import os
import re
import subprocess
import time
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import yaml

from tasks.wakeup import queue_name
from tests.integration.deploy.compose import ROOT
from tests.rigs.process import find_program
from tests.support import require_rig
from workers.app import GRACE_SECONDS
from workers.cli.program import program
from workers.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

HYPERVISORS = ("kvm", "vmware", "xenserver")
WORKERS = tuple(f"worker-{name}" for name in HYPERVISORS)

Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    with require_rig():
        kubectl = find_program("kubectl", "kubernetes-client")
    words = [kubectl, "kustomize", str(ROOT / "deploy/kubernetes")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert all("deprecated" in line for line in done.stderr.splitlines()), done.stderr  # by newer ones, see ADR 0012
    return list(yaml.safe_load_all(done.stdout))


def named(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in manifests if one["kind"] == kind}


def container(manifests: list[Manifest], name: str) -> Manifest:
    found: list[Manifest] = named(manifests, "Deployment")[name]["spec"]["template"]["spec"]["containers"]
    return found[0]


def test_kubernetes_schemas_accept_them(manifests: list[Manifest]) -> None:
    known = [one for one in manifests if one["kind"] != "ScaledObject"]  # KEDA's is no part of Kubernetes
    assert len(known) == 11
    for one in known:
        kubernetes_validate.validate(one, "1.37", strict=True)
    broken = {**known[0], "specs": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.37", strict=True)


def test_everything_is_in_the_namespace_and_refers_to_what_is_there(manifests: list[Manifest]) -> None:
    assert {one["metadata"].get("namespace", "configdrive") for one in manifests} == {"configdrive"}
    deployments = named(manifests, "Deployment")
    assert set(deployments) == {*WORKERS, "waker", "sweeper", "flower"}
    for name in WORKERS:
        labels = deployments[name]["spec"]["template"]["metadata"]["labels"]
        assert deployments[name]["spec"]["selector"]["matchLabels"].items() <= labels.items()
        budget = named(manifests, "PodDisruptionBudget")[name]
        assert budget["spec"]["selector"]["matchLabels"] == deployments[name]["spec"]["selector"]["matchLabels"]
        assert "replicas" not in deployments[name]["spec"]  # each `apply` would undo what KEDA has set


@pytest.mark.parametrize("hypervisor", HYPERVISORS)
def test_keda_asks_for_all_queues_of_the_hypervisor_and_no_others(manifests: list[Manifest], hypervisor: str) -> None:
    scaled = named(manifests, "ScaledObject")[f"worker-{hypervisor}"]["spec"]
    assert scaled["scaleTargetRef"]["name"] == f"worker-{hypervisor}"
    (trigger,) = scaled["triggers"]
    query = trigger["metadata"]["query"]
    found = re.fullmatch(r'sum\(max by \(queue\) \(configdrive_pending_vms\{queue=~"(.+)"\}\)\)', query)
    assert found
    # Prometheus anchors a regular expression at both ends.
    assert re.fullmatch(found[1], queue_name(hypervisor))
    assert re.fullmatch(found[1], queue_name(hypervisor, "berlin-1"))
    others = [name for name in (*HYPERVISORS, f"{hypervisor}2") if name != hypervisor]
    assert not any(re.fullmatch(found[1], queue_name(name)) for name in others)


@pytest.mark.parametrize("name", [*WORKERS, "waker", "sweeper", "flower"])
def test_pods_are_confined(manifests: list[Manifest], name: str) -> None:
    pod = named(manifests, "Deployment")[name]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False
    for one in (*pod["initContainers"], *pod["containers"]):
        security = one["securityContext"]
        assert security["readOnlyRootFilesystem"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["allowPrivilegeEscalation"] is False


@pytest.mark.parametrize("name", [*WORKERS, "sweeper"])
def test_grace_period_lets_the_longest_event_end(manifests: list[Manifest], name: str) -> None:
    pod = named(manifests, "Deployment")[name]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > Settings().task_seconds + GRACE_SECONDS


@pytest.mark.parametrize("name", [*WORKERS, "waker", "sweeper"])
def test_commands_and_settings_are_known(manifests: list[Manifest], name: str) -> None:
    one = container(manifests, name)
    command, *words = one["args"]
    found = program.get_command(program.make_context("configdrive", [command, *words]), command)
    assert found is not None
    found.make_context(command, list(words))  # refuses an unknown option
    for variable in one["env"]:
        if variable["name"] != "CONFIGDRIVE_SETTINGS":
            assert variable["name"].removeprefix("CONFIGDRIVE_").lower() in Settings.model_fields


@pytest.mark.parametrize("name", [*WORKERS, "waker", "sweeper"])
@pytest.mark.parametrize("probe", ["livenessProbe", "readinessProbe"])
def test_probes_tell_a_living_worker_from_a_hung_one(
    manifests: list[Manifest], tmp_path: Path, name: str, probe: str
) -> None:
    alive = tmp_path / "alive"
    words = [word.replace("/tmp/alive", str(alive)) for word in container(manifests, name)[probe]["exec"]["command"]]

    def well() -> bool:
        return not subprocess.run(words, capture_output=True, check=False, timeout=10).returncode

    assert not well()
    alive.touch()
    assert well()
    hour_and_more = time.time() - 3 * 3600
    os.utime(alive, (hour_and_more, hour_and_more))
    assert not well()


def test_key_file_is_readable_for_the_worker_alone(manifests: list[Manifest], tmp_path: Path) -> None:
    pod = named(manifests, "Deployment")["worker-kvm"]["spec"]["template"]["spec"]
    (init,) = pod["initContainers"]
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
