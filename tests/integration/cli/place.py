"""A fleet with one quick worker, and the command line beside it: in this process, or as a process of its own."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import Result

from configdrive.errors import PermanentCode
from rigs.cloud import Cloud, VmScript
from rigs.fleet import Fleet
from rigs.redis import RedisServer
from rigs.simulated.faults import Raise
from rigs.worker import CONFIGDRIVE, Worker
from tests.support import run_command
from workers.cli.errors import ExitCode
from workers.hypervisors.simulated.inventory import Verb

PASSWORD = "Hunter2-of-the-guest"
USER_DATA = "#cloud-config\nruncmd: [echo the-users-own-secret]\n"
SECRETS = (PASSWORD, USER_DATA, "the-users-own-secret")

FLEET = "fleetaaa"
QUICK = {
    "wakeup_seconds": 0.1,
    "backoff_seconds": 0.1,
    "lease_seconds": 30,
    "leftover_seconds": 3600,  # what hosts could not give up is for the commands
    "fleet_id": FLEET,
}


class Place:
    """One place where the command line is used.

    Args:
        directory: for everything.
        redis: the server, started by the caller.
        workers: how many; without any, events wait.
        settings: fields of `workers.config.settings.Settings`, beside those that make a test quick.

    `said` is all that was printed here so far: no secret may be in it.
    """

    def __init__(
        self,
        directory: Path,
        redis: RedisServer,
        *,
        workers: int = 1,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.cloud = Cloud(directory / "world")
        self.fleet = Fleet(
            directory,
            self.cloud.inventory,
            workers=workers,
            redis=redis,
            options=["--pool", "solo"],
            settings={**QUICK, "key_prefix": f"{directory.name}:", **(settings or {})},
        )
        self.environment = self.fleet.environment
        self.said: list[str] = []

    def run(self, *args: str, stdin: str = "") -> Result:
        """Run a command in this process."""
        shown = run_command(self.environment, *args, stdin=stdin)
        self.said.append(shown.output)
        return shown

    def json(self, *args: str, stdin: str = "", code: int = 0) -> Any:  # noqa: ANN401 - whatever the command prints
        """Run a command with --json in this process, and read what it prints."""
        shown = self.run(*args, "--json", stdin=stdin)
        assert shown.exit_code == code, shown.output
        return json.loads(shown.stdout)

    def lines(self, *args: str, stdin: str = "", code: int = 0) -> list[Any]:
        """Run a command with --json in this process, and read the lines that it prints."""
        shown = self.run(*args, "--json", stdin=stdin)
        assert shown.exit_code == code, shown.output
        return [json.loads(line) for line in shown.stdout.splitlines()]

    def outcome(self, event: Mapping[str, Any], code: int = 0) -> Any:  # noqa: ANN401 - JSON
        """Publish an event and wait; returns its outcome."""
        (reported,) = self.lines("publish", "-", "--wait", stdin=json.dumps(event), code=code)
        return reported["outcome"]

    def store(self, *events: Mapping[str, Any]) -> Result:
        """Publish events, and do not wait."""
        return self.run("publish", "-", stdin=event_lines(events))

    def process(
        self,
        *args: str,
        stdin: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as a process of its own."""
        done = subprocess.run(
            [CONFIGDRIVE, *args],
            input=stdin,
            env=self.process_environment(environment),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        self.said.append(done.stdout + done.stderr)
        return done

    @contextmanager
    def running(self, *args: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
        """Have a command that goes on, for a while."""
        with subprocess.Popen(
            [CONFIGDRIVE, *args],
            env=self.process_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    @contextmanager
    def with_worker(self) -> Iterator[Worker]:
        """Have a worker here for a while."""
        worker = Worker(self.fleet.directory, "for-a-while", self.environment, options=["--pool", "solo"])
        try:
            with worker:
                yield worker
        finally:
            self.said.append(worker.log)

    def parked(
        self,
        vm: VmScript,
        code: PermanentCode = PermanentCode.ACCESS_DENIED,
        **data: Any,  # noqa: ANN401 - the fields of an event's data
    ) -> dict[str, Any]:
        """Publish a VM's first event, which is parked for `code`: nobody may look at the VM this once."""
        self.cloud.world.faults.inject(Raise(verb=Verb.OBSERVE, code=code, vm=vm.uuid))
        event = vm.event("deploy", **data)
        assert self.outcome(event, ExitCode.FAILED)["status"] == "parked"
        return event

    def process_environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a process here."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CONFIGDRIVE_")}
        return {**kept, **self.environment, **(more or {})}


def event_lines(events: Sequence[Mapping[str, Any]]) -> str:
    """Return events as JSON Lines."""
    return "".join(json.dumps(event) + "\n" for event in events)
