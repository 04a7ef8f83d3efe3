"""The Helm chart, rendered by Helm's own engine, and what it makes held against the schemas of those who take it."""

import functools
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import kubernetes_validate
import yaml
from pydantic import BaseModel

from tests.integration.deploy.compose import ROOT
from tests.support import require

CHART = ROOT / "deploy/kubernetes/configdrive"
KUBERNETES = "1.37"
RELEASE, NAMESPACE = "configdrive", "fleet"

Manifest = dict[str, Any]
Values = dict[str, Any]


@functools.cache
def _foreign() -> dict[str, type[BaseModel]]:
    """Return the kinds that are no part of Kubernetes, by models that are made from their definitions.

    They are thousands of classes: made only where somebody asks for them.
    """
    from cloudcoil.models.keda.v1alpha1 import ScaledObject  # noqa: PLC0415
    from cloudcoil.models.prometheus_operator.v1 import PodMonitor, PrometheusRule  # noqa: PLC0415

    return {"ScaledObject": ScaledObject, "PodMonitor": PodMonitor, "PrometheusRule": PrometheusRule}


_OFFICE = {"ipBlock": {"cidr": "10.0.0.0/8"}}

VALUES: dict[str, Values] = {
    "default": {},
    "one hypervisor": {"workers": {"xenserver": {"enabled": False}, "vmware": {"enabled": False}}},
    "another hypervisor": {"workers": {"simulated": {"enabled": True, "maxReplicas": 3}}},
    "zones": {
        "settings": {"zones": ["berlin-1", "berlin-2", "bonn"]},
        "workers": {
            "kvm-berlin": {
                "hypervisor": "kvm",
                "zones": ["berlin-1", "berlin-2"],
                "nodeSelector": {"topology.kubernetes.io/zone": "berlin"},
                "resources": {"limits": {"memory": "2Gi"}},
            }
        },
    },
    "without KEDA": {"keda": {"enabled": False}, "workers": {"kvm": {"replicas": 7}}},
    "secrets of one's own": {
        "secrets": {"worker": "vault-worker", "inventory": "vault-hosts", "flower": "vault-flower"}
    },
    "CloudStack's bus": {"cloudstack": {"enabled": True, "nodeSelector": {"near": "rabbitmq"}}},
    "workers alone": {
        "storageSweep": {"enabled": False},
        "wakeup": {"enabled": False},
        "flower": {"enabled": False},
        "keda": {"enabled": False},
        "metrics": {"enabled": False},
    },
    "all there is": {
        "image": {"repository": "registry.example/fleet", "tag": "7", "pullSecrets": ["registry"]},
        "settings": {
            "task_seconds": 899.5,
            "outcomes_kept": 100_000_000,
            "force_eject": False,
            "hypervisors": ["kvm", "simulated"],
            "label": "config-2",
        },
        "keda": {"matchers": 'namespace="fleet"', "authentication": "prometheus-login"},
        "pods": {
            "labels": {"team": "cloud"},
            "annotations": {"example.com/owner": "cloud"},
            "tolerations": [{"key": "control", "operator": "Exists"}],
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
            ],
            "affinity": {"nodeAffinity": {}},
            "priorityClassName": "system-cluster-critical",
            "env": [{"name": "OTEL_EXPORTER_OTLP_HEADERS", "value": "x=y"}],
            "volumes": [{"name": "world", "emptyDir": {}}],
            "volumeMounts": [{"name": "world", "mountPath": "/var/lib/configdrive"}],
        },
        "storageSweep": {"everySeconds": 600, "nodeSelector": {"disk": "near"}},
        "metrics": {
            "podMonitor": {"enabled": True, "labels": {"release": "monitoring"}},
            "rules": {"enabled": True},
            "dashboard": {"enabled": True},
        },
        "networkPolicy": {"enabled": True, "flowerFrom": [_OFFICE], "webhookFrom": [_OFFICE], "gateFrom": [_OFFICE]},
        "cloudstack": {
            "enabled": True,
            "entryPoint": "webhook",
            "replicas": 2,
            "service": {"type": "LoadBalancer", "port": 443},
            "settings": {
                "url": "https://cloudstack.example/client/api",
                "hosts": {"kvm1.dc.example": "kvm-01"},
                "drives_for": "all",
                "call_seconds": 2,
                "gate_seconds": 30,
            },
            "gate": {"enabled": True, "replicas": 3, "service": {"type": "NodePort", "port": 8444}},
        },
    },
}
"""What users may want, by name."""


def helm() -> ModuleType:
    """Return Helm. Its library is there for Linux on x86_64 only."""
    require(sys.platform == "linux" and sys.maxsize > 2**32, "Helm's library is there for Linux on x86_64 only")
    try:
        import helm_python  # noqa: PLC0415  # see above
    except ImportError as error:
        require(condition=False, reason=f"Helm cannot be loaded: {error}")
        raise
    return helm_python


def files_of(values: Values | None = None, *, path: Path = CHART, release: str = RELEASE) -> dict[str, str]:
    """Render the chart; returns the text by template."""
    with helm().Chart.load(path) as chart:
        rendered: dict[str, str] = chart.render(values or {}, name=release, namespace=NAMESPACE)
        return rendered


def render(values: Values | None = None, *, path: Path = CHART, release: str = RELEASE) -> list[Manifest]:
    """Render the chart; returns the objects that a cluster would get."""
    return [
        one
        for file, text in sorted(files_of(values, path=path, release=release).items())
        if not file.endswith(".txt")
        for one in yaml.safe_load_all(text)
        if one is not None
    ]


@functools.cache
def rendered(name: str = "default") -> list[Manifest]:
    """Return what becomes of the values of a name; nobody changes it."""
    return render(VALUES[name])


def check(manifest: Manifest) -> None:
    """Hold an object against its kind's schema; what the schema does not know is refused.

    Raises:
        AssertionError: it does not know a field.
        kubernetes_validate.ValidationError, pydantic.ValidationError: a value is wrong.
    """
    kind = _foreign().get(manifest["kind"])
    if kind is None:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    else:  # the models drop what they do not know
        known = kind.model_validate(manifest).model_dump(mode="json", by_alias=True, exclude_unset=True)
        assert known == manifest


def named(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    """Return the objects of a kind, by name without the release's."""
    return {one["metadata"]["name"].removeprefix(f"{RELEASE}-"): one for one in manifests if one["kind"] == kind}


def pod(manifests: list[Manifest], name: str) -> Manifest:
    """Return what a Deployment says of its pods."""
    found: Manifest = named(manifests, "Deployment")[name]["spec"]["template"]
    return found


def container(manifests: list[Manifest], name: str) -> Manifest:
    """Return the container of a Deployment's pods."""
    (found,) = pod(manifests, name)["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def queries(manifests: list[Manifest]) -> dict[str, str]:
    """Return what KEDA asks Prometheus, by the Deployment that is scaled on the answer."""
    found = {}
    for name, one in named(manifests, "ScaledObject").items():
        assert one["spec"]["scaleTargetRef"]["name"] == f"{RELEASE}-{name}"
        (trigger,) = one["spec"]["triggers"]
        assert trigger["type"] == "prometheus"
        found[name] = trigger["metadata"]["query"]
    return found
