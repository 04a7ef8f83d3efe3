"""The stack of docker-compose.yml on a real engine: built, brought up, scaled, worked, and taken down.

Not a part of `make test`: it takes minutes and a gigabyte. Grafana is left out, as no Debian package has it.
"""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from rigs.cloud import VmScript
from tests.long.compose.engine import Engine, fill_wheelhouse
from tests.support import require_rig, wait_until

pytestmark = pytest.mark.timeout(1800)

WORKERS = ("worker-kvm", "worker-xenserver", "worker-vmware", "worker-simulated")
UP = ("redis", *WORKERS, "wakeup", "storage-sweep", "flower", "prometheus")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    fill_wheelhouse()
    with require_rig():
        engine = Engine(tmp_path_factory.mktemp("engine"))
    with engine:
        yield engine


@pytest.fixture(scope="module")
def stack(engine: Engine) -> Iterator[Engine]:
    begun = time.monotonic()
    engine.compose("build", "--build-arg", "PIP_NO_INDEX=1", "init")
    built = time.monotonic()
    try:
        engine.compose(*PROFILES, "up", "--detach", "--scale", "worker-kvm=4", *UP)
        wait_until(lambda: not unhealthy(engine), "every container to be healthy", timeout=180, interval=1)
        sys.stdout.write(f"\n[measured] built in {built - begun:.0f} s, up in {time.monotonic() - built:.0f} s\n")
        yield engine
    except BaseException:
        sys.stdout.write(engine.compose(*PROFILES, "ps") + engine.compose(*PROFILES, "logs", "--tail=15", "--no-color"))
        raise
    finally:
        engine.compose(*PROFILES, "down", "--volumes", "--timeout", "30")


PROFILES = ("--profile", "simulated", "--profile", "monitoring")


def containers(engine: Engine) -> list[dict[str, Any]]:
    names = engine.docker("ps", "--all", "--quiet").split()
    found: list[dict[str, Any]] = json.loads(engine.docker("inspect", *names)) if names else []
    return found


def service_of(container: dict[str, Any]) -> str:
    return str(container["Config"]["Labels"]["com.docker.compose.service"])


def unhealthy(engine: Engine) -> list[str]:
    """Return the services that are not (yet) healthy; `init` is to have ended well."""
    found = containers(engine)
    assert {service_of(one) for one in found} == {"init", *UP}
    return [
        service_of(one)
        for one in found
        if (one["State"]["ExitCode"] if service_of(one) == "init" else one["State"]["Health"]["Status"] != "healthy")
    ]


def publish(engine: Engine, *events: dict[str, Any]) -> str:
    """Publish as an orchestrator does: from a container with the publisher's settings and nothing else."""
    return engine.docker(
        *("run", "--rm", "--interactive", "--network", "configdrive-test_default", "--read-only", "--cap-drop", "ALL"),
        *("--volume", "configdrive-test_secrets-publisher:/run/configdrive:ro"),
        *("--env", "CONFIGDRIVE_SETTINGS=/run/configdrive/settings.toml", "configdrive-fleet:local"),
        *("publish", "--wait", "-"),
        given="\n".join(map(json.dumps, events)),
    )


def test_events_are_worked_on_and_seen_by_prometheus(stack: Engine) -> None:
    vms = [VmScript() for _ in range(25)]
    events = [vm.event(kind, host="host-01") for kind in ("deploy", "start", "stop", "start") for vm in vms]
    printed = publish(stack, *events)
    assert "100 stored" in printed

    def seen() -> bool:
        query = "/api/v1/query?query=sum(configdrive_events_total)"
        answer = ask(stack, "prometheus", f"http://127.0.0.1:9090{query}")
        result = json.loads(answer)["data"]["result"]
        return bool(result) and float(result[0]["value"][1]) >= 100

    wait_until(seen, "Prometheus to count the events", timeout=60, interval=2)


def ask(engine: Engine, service: str, url: str) -> str:
    """Ask a service from its own network; its image need not have a client."""
    (one,) = [container for container in containers(engine) if service_of(container) == service]
    return engine.docker(
        *("run", "--rm", "--network", f"container:{one['Id']}", "configdrive-fleet:local", "python3", "-c"),
        f"import urllib.request as u; print(u.urlopen({url!r}, timeout=5).read().decode())",
    )


def test_containers_are_confined(stack: Engine) -> None:
    for one in containers(stack):
        assert one["HostConfig"]["ReadonlyRootfs"] is True
        assert one["HostConfig"]["CapDrop"] == ["ALL"]
        assert one["Config"]["User"] not in {"", "0", "root"}, service_of(one)
    (worker,) = [one["Id"] for one in containers(stack) if service_of(one) == "worker-simulated"]
    assert stack.docker("exec", worker, "id", "-u").strip() == "10001"
    tools = "for tool in gcc cc make pip pip3 apt-config; do command -v $tool; done; true"
    assert stack.docker("exec", worker, "sh", "-c", tools).split() == ["/usr/bin/apt-config"]
    assert stack.try_docker("exec", worker, "touch", "/opt/configdrive/x").returncode != 0


def test_workers_are_scaled_up_and_down_under_load(stack: Engine) -> None:
    stack.compose(*PROFILES, "up", "--detach", "--no-recreate", "--scale", "worker-simulated=4", "worker-simulated")
    vms = [VmScript() for _ in range(50)]
    events = [vm.event(kind, host="host-01") for kind in ("deploy", "start", "stop") for vm in vms]
    printed = publish(stack, *events)
    assert "150 stored" in printed
    counted = [service_of(one) for one in containers(stack) if one["State"]["Running"]]
    assert (counted.count("worker-simulated"), counted.count("worker-kvm")) == (4, 4)
    stack.compose(*PROFILES, "up", "--detach", "--no-recreate", "--scale", "worker-simulated=1", "worker-simulated")
    assert "  applied  " in publish(stack, VmScript().event("start", host="host-01"))
    shown = stack.compose(*PROFILES, "exec", "-T", "worker-simulated", "configdrive", "show", "--json")
    assert json.loads(shown)["parked"] == []


def test_everything_goes_when_the_stack_is_taken_down(stack: Engine) -> None:
    stack.compose(*PROFILES, "down", "--volumes", "--timeout", "30")
    assert containers(stack) == []
    assert stack.docker("volume", "ls", "--quiet") == ""
