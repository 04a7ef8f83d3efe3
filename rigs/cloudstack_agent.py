"""CloudStack's KVM agent as far as its hook goes: a JVM that runs our Groovy script as the agent does."""

import os
import shutil
import socket
from pathlib import Path

from typing_extensions import override

from rigs.process import LOOPBACK, Daemon, DaemonRig, RigUnavailable, find_program, free_port

HOOKS = Path(__file__).resolve().parents[1] / "deploy" / "cloudstack"

_SMALL = "-Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto"


class Agent(DaemonRig):
    """The agent of one host.

    Args:
        directory: for its settings, its hook and its log.
        host: the host's name in CloudStack.
        token: by which the gate knows it.
        ca_file: who has signed the gate's certificate.
        workers: how many commands it executes at once; CloudStack's default is 5.

    Raises:
        RigUnavailable: Groovy or a JVM is not installed.
    """

    def __init__(self, directory: Path, host: str, token: str, ca_file: Path, *, workers: int = 5) -> None:
        if not Path("/usr/lib/jvm/default-java").exists():
            raise RigUnavailable("no Java to run Groovy with; install the Debian package default-jre-headless")
        groovy = find_program("groovy", "groovy")
        self.directory = directory
        self.port = free_port()
        directory.mkdir(parents=True, exist_ok=True)
        self.token_file = directory / "configdrive-gate.token"
        self.token_file.write_text(token + "\n")
        self.token_file.chmod(0o600)
        self._settings = {
            "url": "",
            "host": host,
            "ca_file": str(ca_file),
            "token_file": str(self.token_file),
            "fail_closed": "false",
        }
        hooks = directory / "hooks"
        hooks.mkdir(exist_ok=True)
        for script in HOOKS.glob("*.groovy"):
            shutil.copy(script, hooks)
        self.set()
        files = {"settings": directory / "configdrive-gate.properties", "script": hooks / "configdrive-gate.groovy"}
        options = " ".join([_SMALL, *(f"-Dconfigdrive.gate.{name}={path}" for name, path in files.items())])
        command = [groovy, str(Path(__file__).with_suffix(".groovy")), str(hooks), str(self.port), str(workers)]
        self.log_file = directory / "agent.log"
        self._daemon = Daemon(command, self.log_file, {"JAVA_OPTS": options, "PATH": os.environ["PATH"]})

    def set(self, **settings: str) -> None:
        """Write the hook's settings, with these changed; they hold from the next call on."""
        self._settings |= settings
        text = "".join(f"{name}={value}\n" for name, value in self._settings.items())
        (self.directory / "configdrive-gate.properties").write_text(text)

    @override
    def start(self) -> None:
        """Start the JVM."""
        said = len(self.log)
        self._daemon.start()
        self._daemon.wait_ready(lambda: "listening on" in self.log[said:], timeout=60)

    @property
    def log(self) -> str:
        """What it has logged."""
        return self.log_file.read_text() if self.log_file.exists() else ""

    def transform(self, xml: str, *, command: str = "start") -> str:
        """Return the XML that the agent would start.

        Args:
            xml: as it comes from CloudStack.
            command: `start`, or `unmanage`, for which the agent calls the hook too.
        """
        with socket.create_connection((LOOPBACK, self.port), timeout=300) as connection:
            connection.sendall(f"{command}\n{xml}".encode())
            connection.shutdown(socket.SHUT_WR)
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
        return b"".join(parts).decode()
