"""The Debian package in a bare Debian 12: installed, used, published to by the client alone, and removed."""

import gzip
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.packages.build import client_wheel, debian_package, environment, requirements_of, wheel_and_sdist
from rigs.process import Daemon, cache_directory, find_program
from rigs.redis import RedisServer
from rigs.trees import in_own_mounts, scratch_tree
from tests.integration.deploy.test_systemd import Unit
from tests.long.debian import bare_root
from tests.support import require, require_rig, wait_until

pytestmark = pytest.mark.timeout(1200)  # seconds; debootstrap, the first time, on a busy machine

NEEDS: Final = ("ca-certificates", "libvirt0", "python3", "systemd")
"""What the package depends on, and systemd, which verifies its units."""
NOBODY: Final = "65534"
UNIT: Final = "usr/lib/systemd/system/configdrive-worker@.service"
MAN_PAGE: Final = "usr/share/man/man1/configdrive.1.gz"
PUBLISHES: Final = """
import importlib.util, json, sys
from configdrive.client import connect

event, url, key = json.load(sys.stdin), *sys.argv[1:]
with connect(redis_url=url, public_key=key) as publisher:
    outcome = publisher.wait(publisher.publish(event), 300)
absent = [name for name in ("celery", "kombu", "click", "tasks", "workers") if importlib.util.find_spec(name) is None]
print(json.dumps({"status": outcome.status, "facts": outcome.facts, "absent": absent}))
"""


class Root:
    """A root directory, and commands in it that see /proc and /dev."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def argv(self, *command: str) -> list[str]:
        """Return what runs a command in it, with nothing left mounted or running afterwards."""
        chroot = find_program("chroot", "coreutils")  # a unit's PATH has it not
        mounts = f'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec {chroot} "$0" "$@"'
        return in_own_mounts(["/bin/sh", "-c", mounts, str(self.directory), *command])

    def run(self, *command: str, stdin: str = "", environment: Mapping[str, str] | None = None) -> str:
        """Run a command to its end and return what it prints."""
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8", **(environment or {})}
        done = subprocess.run(
            self.argv(*command), input=stdin, env=env, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def put(self, place: str, text: str, mode: int = 0o644) -> None:
        """Write a file in it."""
        path = self.directory / place.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def files(self) -> set[str]:
        """Return all that is in it but the package manager's own records, and what is gone with the next boot."""
        found = {str(path.relative_to(self.directory)) for path in self.directory.rglob("*")}
        return {path for path in found if not path.startswith(("var/lib/dpkg/", "var/log/", "var/cache/", "run/"))}


@pytest.fixture
def roots() -> Iterator[tuple[Root, Root]]:
    """Two bare roots."""
    require(os.geteuid() == 0, "root: debootstrap, chroot")
    with require_rig():
        bare, cp = bare_root(NEEDS), find_program("cp", "coreutils")
    with scratch_tree(cache_directory("debian"), "roots-") as scratch:
        for name in ("fleet", "client"):
            subprocess.run([cp, "-a", "--reflink=auto", bare, scratch / name], check=True)
        yield Root(scratch / "fleet"), Root(scratch / "client")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with require_rig():
        server = RedisServer(tmp_path)
    with server:
        yield server


def test_it_is_installed_used_published_to_and_removed(
    roots: tuple[Root, Root], redis: RedisServer, tmp_path: Path
) -> None:
    fleet, client = roots
    wheel, _ = wheel_and_sdist(tmp_path)
    before = fleet.files()
    shutil.copy(debian_package(wheel, tmp_path), fleet.directory / "package.deb")
    fleet.run("dpkg", "--install", "/package.deb")
    (fleet.directory / "package.deb").unlink()

    units = [
        f"configdrive-{name}.service"
        for name in ("wakeup", "storage-sweep", "flower", "cloudstack", "cloudstack-gate", "worker@kvm")
    ]
    assert not fleet.run("systemd-analyze", "verify", "--man=no", *units)
    assert "configdrive publish" in gzip.decompress((fleet.directory / MAN_PAGE).read_bytes()).decode()
    worker, environment_of_unit = unit_s_worker(fleet, redis, tmp_path / "worker.log")
    key = fleet.run("configdrive", "keys", "public", environment=environment_of_unit).strip()
    worker.start()
    try:
        worker.wait_ready(lambda: b" ready." in worker.log.read_bytes(), timeout=60)
        found = json.loads(fleet.run("configdrive", "doctor", "--json", environment=environment_of_unit))
        assert found["well"], found
        outcome = published(client, redis.url, key, tmp_path)
        (pid,) = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
        os.kill(int(pid), signal.SIGTERM)
        wait_until(lambda: not worker.running, "the worker to end", timeout=60)
    finally:
        worker.kill()
    assert worker.exit_code == 0
    assert outcome["status"] == "applied"
    assert outcome["absent"] == ["celery", "kombu", "click", "tasks", "workers"]
    assert [path.suffix for path in (fleet.directory / "var/lib/world").rglob("*.iso")] == [".iso"]

    for path in ("etc/configdrive", "var/lib/world", "run/unit"):  # what its operator has made
        shutil.rmtree(fleet.directory / path)
    fleet.run("dpkg", "--purge", "configdrive-fleet")
    assert sorted(fleet.files() ^ before) == []


def unit_s_worker(fleet: Root, redis: RedisServer, log: Path) -> tuple[Daemon, dict[str, str]]:
    """Return what runs the command of the worker's unit in a root, as nobody, and the unit's environment."""
    fleet.put(
        "etc/configdrive/inventory.toml",
        '[simulated]\ndirectory = "/var/lib/world"\nauto_define = true\n'
        "[simulated.hosts.h1]\nstorages = { primary = {} }\n",
    )
    fleet.put("etc/configdrive/settings.toml", f'redis_url = "{redis.url}"\nhypervisors = ["simulated"]\n', 0o600)
    fleet.run("configdrive", "keys", "generate", environment={"CONFIGDRIVE_KEYS_FILE": "/etc/configdrive/keys.json"})
    unit = Unit([fleet.directory / UNIT], "simulated", Path("/run/unit"))
    for one in unit.all("LoadCredential"):
        name, source = one.split(":")
        fleet.put(f"run/unit/credentials/{name}", (fleet.directory / source[1:]).read_text(), 0o400)
    (fleet.directory / "run/unit/run/configdrive").mkdir(parents=True)
    (fleet.directory / "var/lib/world").mkdir()
    fleet.run("chown", "-R", NOBODY, "/run/unit", "/var/lib/world")
    environment = dict(one.split("=", 1) for one in unit.all("Environment"))
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]
    return Daemon(fleet.argv(*as_nobody, *unit.command()), log, environment), environment


def published(client: Root, redis_url: str, key: str, scratch: Path) -> dict[str, Any]:
    """Publish an event from a root that has the client's wheel and what it asks for, and nothing else of ours."""
    wheel = client_wheel(scratch)
    environment(client.directory, [wheel], requirements_of(wheel))
    event = {
        "specversion": "1.0",
        "id": "from-the-client-alone",
        "source": "/tests",
        "type": "configdrive.vm.deploy.v1",
        "data": {
            "sequence": 1,
            "vm": {"uuid": "0d0a1c52-6f0f-4b51-9a3c-0a6d3f1a7c04", "instance_name": "web-4"},
            "hypervisor": "simulated",
            "host": "h1",
            "start": True,
            "guest": {"password": "swordfish"},
        },
    }
    python = "/opt/configdrive/bin/python"
    found: dict[str, Any] = json.loads(client.run(python, "-c", PUBLISHES, redis_url, key, stdin=json.dumps(event)))
    return found
