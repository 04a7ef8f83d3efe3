"""The services of docker-compose.yml as plain processes: their very commands, environment and health checks.

What an engine gives a container is put in its place: a path inside becomes the volume's or the file's path outside, the
name and port of a service a free port on loopback. Everything else is as the file says it.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner
from redis import Redis

from rigs.process import LOOPBACK, Daemon, find_program, free_port, tail
from tests.support import require_rig, wait_until
from workers.cli import program

ROOT = Path(__file__).parents[3]
IMAGE_FILES = Path("/usr/local/lib/configdrive")
"""Where deploy/Dockerfile puts the stack's own files."""

_PORTS = ("6379", "5555", "9109", "8443", "8444")
_VARIABLE = re.compile(r"\$\{(?P<name>\w+):-(?P<default>[^}]*)\}|\$\$")


def read_services() -> dict[str, dict[str, Any]]:
    """Return the services of the file, variables at their defaults."""
    text = _VARIABLE.sub(
        lambda found: found["default"] if found["name"] else "$", (ROOT / "docker-compose.yml").read_text()
    )
    services: dict[str, dict[str, Any]] = yaml.safe_load(text)["services"]
    return services


class Service:
    """One container of a service, as a process.

    Args:
        name: the service's.
        stack: the directory of the whole stack.
        ports: what stands for each port inside.
    """

    def __init__(self, name: str, stack: Path, ports: Mapping[str, int]) -> None:
        self.name = name
        self.spec = read_services()[name]
        self.temporary = stack / "tmp" / name
        self.temporary.mkdir(parents=True)
        self._paths = {"/tmp": self.temporary, str(IMAGE_FILES): stack / "image", "/secrets": stack / "volumes/secrets"}
        for volume in self.spec.get("volumes", ()):
            source, inside = volume.split(":")[:2]
            if source.startswith("."):
                self._paths[inside] = ROOT / source
            else:
                self._paths[inside] = volume_of(stack, source)
                self._paths[inside].mkdir(parents=True, exist_ok=True)
        self._ports = ports
        self._copy_configuration(stack)
        self.log = stack / f"{name}.log"
        self._daemon = Daemon(self.argv, self.log, self.environment)

    def _copy_configuration(self, stack: Path) -> None:
        """Put a copy in the place of the mounted directory, as files in it name paths inside, too."""
        mounted = self._paths.get("/etc/configdrive")
        if mounted is None:
            return
        self._paths["/etc/configdrive"] = shutil.copytree(mounted, stack / "files" / self.name)
        for file in self.configuration.glob("*.toml"):
            file.write_text(self.outside(file.read_text()))

    @property
    def configuration(self) -> Path:
        """The copy of what is mounted as /etc/configdrive."""
        return self._paths["/etc/configdrive"]

    @property
    def argv(self) -> list[str]:
        """What the container would run: deploy/entrypoint.sh in front where the image is ours."""
        command = [self.outside(word) for word in self.spec["command"]]
        ours = self.spec["image"].startswith("configdrive-fleet")
        return (
            [str(ROOT / "deploy/entrypoint.sh"), *command]
            if ours
            else [find_program(command[0], command[0]), *command[1:]]
        )

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the file, and the image's PATH."""
        stated = {name: self.outside(str(value)) for name, value in self.spec.get("environment", {}).items()}
        return {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **stated}

    def outside(self, text: str) -> str:
        """Return a text of the file with what is outside in the place of what would be inside."""
        known = "|".join(re.escape(inside) for inside in sorted(self._paths, reverse=True))
        text = re.sub(rf"(?<![\w/.])({known})(?![\w.-])", lambda found: str(self._paths[found[0]]), text)
        text = text.replace("redis:6379", f"{LOOPBACK}:6379").replace("0.0.0.0", LOOPBACK)  # noqa: S104  # to be replaced
        return re.sub(rf"\b({'|'.join(_PORTS)})\b", lambda found: str(self._ports[found[0]]), text)

    def run(self) -> None:
        """Run it to its end, as a service that does something once.

        Raises:
            CalledProcessError: it failed.
        """
        subprocess.run(self.argv, env={**os.environ, **self.environment}, check=True, timeout=600)

    def start(self) -> None:
        """Start it, and do not wait."""
        self._daemon.start()

    def stop(self) -> int | None:
        """End it in order; returns how it ended."""
        self._daemon.stop(timeout=20)
        return self._daemon.exit_code

    def ask_to_stop(self) -> None:
        """Send TERM, and do not wait."""
        self._daemon.signal(signal.SIGTERM)

    def freeze(self) -> None:
        """Let it be there and do nothing."""
        self._daemon.pause()

    def resume(self) -> None:
        """Let a frozen one go on."""
        self._daemon.resume()

    @property
    def end_of_log(self) -> str:
        """The last lines of its log."""
        return tail(self.log)

    def healthy(self) -> bool:
        """Run the health check of the file."""
        if not self._daemon.running:
            return False
        kind, *words = self.spec["healthcheck"]["test"]
        shell = ["sh", "-c"] if kind == "CMD-SHELL" else []
        return not subprocess.run(
            [*shell, *map(self.outside, words)],
            env={**os.environ, **self.environment},
            capture_output=True,
            check=False,
            timeout=300,
        ).returncode


def volume_of(stack: Path, name: str) -> Path:
    """Return the directory of a named volume; those of secrets lie together, as `init` has them."""
    return stack / "volumes" / name.replace("secrets-", "secrets/")


class Stack:
    """All services that a test asks for, on one private Redis with the very ACL file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._redis_port = free_port()
        self.services: dict[str, Service] = {}
        image = directory / "image"
        image.mkdir(parents=True)
        for file in ("deploy/compose/init.sh", "deploy/redis/users.acl.template"):
            shutil.copy(ROOT / file, image)

    def service(self, name: str) -> Service:
        """Make a service; each has ports of its own but for Redis'."""
        ports = {port: self._redis_port if port == "6379" else free_port() for port in _PORTS}
        self.services[name] = Service(name, self.directory, ports)
        return self.services[name]

    def volume(self, name: str) -> Path:
        """Return what an engine would keep in a named volume."""
        return volume_of(self.directory, name)

    def redis(self) -> Service:
        """Make the service `redis`: its configuration file names paths and the port, too."""
        service = self.service("redis")
        written = self.directory / "redis.conf"
        written.write_text(service.outside((ROOT / "deploy/redis/redis.conf").read_text()))
        service._paths["/usr/local/etc/redis/redis.conf"] = written
        service._daemon = Daemon(service.argv, service.log, service.environment)
        return service

    def client(self, role: str | None) -> Redis:
        """Return a client with a role's login, or with none."""
        if role is None:
            return Redis(port=self._redis_port, socket_timeout=600)
        return Redis.from_url(self.settings(role)["redis_url"], socket_timeout=600)

    def settings(self, role: str) -> dict[str, Any]:
        """Return what `init` has written for a role."""
        return tomllib.loads((self.volume(f"secrets-{role}") / "settings.toml").read_text())

    def stop(self) -> None:
        """Stop all side by side, Redis last."""
        for service in self.services.values():
            if service.name != "redis":
                service.ask_to_stop()
        for service in reversed(self.services.values()):
            service.stop()


@contextmanager
def begun(directory: Path) -> Iterator[Stack]:
    """A stack in which `init` has run, and Redis runs."""
    with require_rig():
        stack = Stack(directory)
        stack.service("init").run()
        service = stack.redis()
    try:
        service.start()
        wait_until(service.healthy, "redis to be healthy", timeout=20, interval=0.1)
        yield stack
    finally:
        stack.stop()


def configdrive(stack: Stack, role: str, *words: str, given: str = "") -> str:
    """Run the command line as a role would, in this process: with the settings in its volume and nothing else."""
    names = {name: None for name in os.environ if name.startswith(("CONFIGDRIVE_", "XDG_"))}
    environment = {
        "HOME": str(stack.directory),
        "CONFIGDRIVE_SETTINGS": str(stack.volume(f"secrets-{role}") / "settings.toml"),
        "CONFIGDRIVE_HYPERVISORS": '["simulated"]',
    }
    done = CliRunner(env=names).invoke(program, words, input=given, env=environment)
    assert done.exit_code == 0, done.output
    return done.stdout
