"""Adapters as processes of their own, beside a fleet whose mailboxes are looked into."""

import base64
import hashlib
import http.client
import os
import re
import signal
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from click.testing import Result as Shown
from typing_extensions import override

from configdrive.model import VmUuid
from rigs.certificates import Certificates
from rigs.cloudstack import CloudStack
from rigs.fleet import Fleet
from rigs.process import LOOPBACK, Daemon, Rig, wait_until
from rigs.redis import RedisServer
from rigs.worker import CONFIGDRIVE
from tasks.mailbox import DeadLetter
from tests.integration.metrics.asking import address_in, scrape
from tests.support import run_command
from tests.unit.workers.cloudstack.recorded import action
from workers.cloudstack.adapter import Result

SECRET = "the-webhooks-own-secret"
PASSWORD = "Hunter2-of-the-guest"


def idle_fleet(directory: Path, redis: RedisServer) -> Fleet:
    """Return a fleet without workers: what is published to it stays in the mailboxes."""
    return Fleet(directory / "fleet", "", workers=0, redis=redis, settings={"key_prefix": f"{directory.name}:"})


class AdapterSite(Rig):
    """A place for adapters.

    Args:
        directory: for keys and logs.
        fleet: its keys are made here; the caller stops it.
        cloudstack: started by the caller.
    """

    def __init__(self, directory: Path, fleet: Fleet, cloudstack: CloudStack) -> None:
        self.directory = directory
        self.cloudstack = cloudstack
        self.fleet = fleet
        assert fleet.publisher is not None
        secret = directory / "webhook.secret"
        secret.write_text(SECRET)
        secret.chmod(0o600)
        self.environment = {
            **self.fleet.environment,
            **cloudstack.environment(directory),
            "CONFIGDRIVE_CLOUDSTACK__WEBHOOK_SECRET_FILE": str(secret),
        }
        self._daemons: list[Daemon] = []

    def adapter(
        self, *arguments: str, says: str = "listening on", environment: Mapping[str, str] | None = None, **more: str
    ) -> Daemon:
        """Start `configdrive cloudstack …`; returns once it says that it listens, or else what is asked for."""
        log = self.directory / f"adapter-{len(self._daemons)}.log"
        daemon = Daemon([CONFIGDRIVE, "cloudstack", *arguments], log, {**self._with(more), **(environment or {})})
        self._daemons.append(daemon)
        daemon.start()
        daemon.wait_ready(lambda: says in log.read_text(), timeout=30)
        return daemon

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run `configdrive cloudstack …` as a process, to its end."""
        shown = subprocess.run(
            [CONFIGDRIVE, "cloudstack", *arguments],
            stdin=subprocess.DEVNULL,
            env={**os.environ, **self._with(more)},
            capture_output=True,
            check=False,
            timeout=300,
        )
        return subprocess.CompletedProcess(shown.args, shown.returncode, shown.stdout.decode(), shown.stderr.decode())

    def inside(self, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> Shown:
        """Run it in this process."""
        return run_command({**self.environment, **(environment or {})}, "cloudstack", *arguments, stdin=stdin)

    def _with(self, more: Mapping[str, str]) -> dict[str, str]:
        own = {f"CONFIGDRIVE_CLOUDSTACK__{name}": value for name, value in more.items()}
        return {**self.environment, **own}

    def webhook(self, certificates: Certificates, **environment: str) -> "Hook":
        """Start an adapter for webhooks over HTTPS, which counts them."""
        pki = certificates.directory
        daemon = self.adapter(
            *("webhook", "--address", LOOPBACK, "--port", "0"),
            environment={
                "CONFIGDRIVE_METRICS_PORT": "0",
                "CONFIGDRIVE_CLOUDSTACK__WEBHOOK_SECONDS": "0",
                **environment,
            },
            WEBHOOK_CERTIFICATE=str(pki / "servercert.pem"),
            WEBHOOK_CERTIFICATE_KEY=str(pki / "serverkey.pem"),
        )
        found = re.search(r"listening on \S+ port (\d+)", daemon.log.read_text())
        assert found is not None
        return Hook(int(found[1]), certificates, daemon)

    def types(self, vm: str) -> list[str]:
        """The types of the VM's events, oldest first."""
        view = self.fleet.mailbox.view(VmUuid(vm))
        return [] if view is None else [header.event_type for header in view.mail]

    def dead_letters(self) -> list[DeadLetter]:
        """What could not be taken since this was last asked to be forgotten."""
        return self.fleet.mailbox.dead_letters(100)

    def forget_dead_letters(self) -> None:
        """Take them away."""
        with self.fleet.redis.client() as client:
            client.delete(f"{self.fleet.settings.key_prefix}dead")

    @property
    def log(self) -> str:
        """All that adapters have said."""
        return "".join(daemon.log.read_text() for daemon in self._daemons)

    def everything_in_redis(self) -> bytes:
        """Return all that lies under this site's keys, as it is."""
        with self.fleet.redis.client() as client:
            dumped: list[Any] = [client.dump(key) for key in client.scan_iter(f"{self.fleet.settings.key_prefix}*")]
        return b"".join(part for part in dumped if part)

    @override
    def start(self) -> None:
        """Nothing is started yet."""

    @override
    def stop(self) -> None:
        """Stop the adapters; none has said a secret."""
        for daemon in self._daemons:
            daemon.stop()
        assert [secret for secret in (SECRET, PASSWORD) if secret in self.log] == []


class Hook:
    """A webhook's server, as CloudStack calls it."""

    def __init__(self, port: int, certificates: Certificates, daemon: Daemon) -> None:
        self.port = port
        self._context = ssl.create_default_context(cafile=certificates.directory / "cacert.pem")
        self.daemon = daemon

    def post(self, body: bytes, *, signature: str | None = None, **headers: str) -> int:
        """Post a payload, signed as CloudStack does unless asked otherwise; returns the status."""
        signed = sign(body) if signature is None else signature
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.call("POST", "/", body, {"User-Agent": "CS-Hookshot/1", "X-CS-Signature": signed, **named})

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> int:  # noqa: ANN401
        """Make any call."""
        connection = http.client.HTTPSConnection(LOOPBACK, self.port, timeout=600, context=self._context)
        try:
            connection.request(method, path, body, headers or {}, encode_chunked=not isinstance(body, bytes | None))
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        assert len(text) < 60
        assert answer.headers.get("Server") is None
        return answer.status

    def counted(self) -> dict[str, int]:
        """Return how many notices it has counted, by what became of them."""
        page = scrape(address_in(self.daemon.log.read_text))
        name = "configdrive_cloudstack_notices_total"
        return {one: int(page.sum(name, entry_point="webhook", result=one)) for one in Result if page.has(name)}

    def terminate(self) -> int | None:
        """Send it TERM, and wait for its end."""
        self.daemon.signal(signal.SIGTERM)
        wait_until(lambda: not self.daemon.running, "the adapter's end", timeout=20)
        return self.daemon.exit_code


def sign(body: bytes, secret: str = SECRET) -> str:
    """Sign as RFC 2104 defines an HMAC, without our own code or its library."""
    key = secret.encode().ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + body).digest()
    return base64.b64encode(hashlib.sha256(bytes(byte ^ 0x5C for byte in key) + inner).digest()).decode()


def started(vm: str, second: int = 1) -> bytes:
    """Return the action event of a start."""
    return action("VM.START", second, vm=vm)
