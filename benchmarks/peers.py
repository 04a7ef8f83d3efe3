"""What the fleet is measured against, as a worker of its own: `python -m benchmarks.peers`.

It takes from one queue, by the very Celery settings, pool and Redis of the fleet's workers, and knows three tasks: one
that does nothing, one that tells that it ran, and the naive design: an event in the clear, genisoimage, the drive
attached; no order, no lease, no sealing, no state, no retry.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery import Celery, Task, signals

from configdrive.client.connection import connect_redis
from configdrive.contents.render import render
from configdrive.contract.events import parse
from configdrive.contract.guest_data import GuestData
from configdrive.drive_data import VmData
from configdrive.lifecycle.transitions import vm_of
from configdrive.model import Generation, HypervisorName, Image, ImageName, Vm
from workers.config.inventory import read_inventory
from workers.config.settings import Settings, load_settings
from workers.driverkit.load import make_driver
from workers.observability.logs import set_up_logging
from workers.queueing.app import make_app

if TYPE_CHECKING:
    import redis

    from configdrive.ports import HypervisorDriver

QUEUE = "configdrive.peers"
NOOP, TELL, NAIVE = "benchmarks.noop", "benchmarks.tell", "benchmarks.naive"
RUNS = "run"
"""The stream, behind the fleet's prefix, on which `TELL` and `NAIVE` say that they have run."""


class Runtime:
    """What one process of the pool works with."""

    def __init__(self, settings: Settings) -> None:
        inventory = read_inventory(settings.inventory)
        self.driver: HypervisorDriver = make_driver(settings, HypervisorName("simulated"), inventory)
        self.redis: redis.Redis = connect_redis(settings)
        self._stream = f"{settings.key_prefix}{RUNS}"

    def tell(self, name: object) -> None:
        """Say that a task has run."""
        self.redis.xadd(self._stream, {"event": str(name)}, maxlen=10_000)


def make_peers(settings: Settings) -> Celery:
    """Return the app with the three tasks."""
    app = make_app(settings, [QUEUE])
    made: dict[int, Runtime] = {}

    def runtime() -> Runtime:
        """Return this process's own, made after the fork."""
        pid = os.getpid()
        if pid not in made:
            made[pid] = Runtime(settings)
        return made[pid]

    @app.task(name=NOOP)
    def noop(*_arguments: object) -> None:
        """Do nothing: what Celery itself costs."""

    @app.task(name=TELL, bind=True)
    def tell(self: Task[Any, Any], *_arguments: object) -> None:
        """Do nothing but say so."""
        runtime().tell(self.request.id)

    @app.task(name=NAIVE, bind=True)
    def naive(self: Task[Any, Any], event: str) -> None:
        """Do what the event says at once."""
        attach_naively(runtime().driver, event)
        runtime().tell(self.request.id)

    del noop, tell, naive
    return app


def attach_naively(driver: HypervisorDriver, text: str) -> None:
    """Do what an event says without looking what is there, by genisoimage and the driver's verbs."""
    event = parse(text)
    vm, kind = vm_of(None, event), event.type.split(".")[2]
    if kind in {"stop", "destroy"}:
        driver.detach(vm)
        for stored in driver.observe(vm).images:
            driver.delete(vm, stored)
        return
    seen = driver.observe(vm)
    if seen.storage is None:
        raise RuntimeError(f"no storage for VM {vm.uuid}")
    guest = getattr(event.data, "guest", None) or GuestData()
    name = ImageName.of(vm.instance_name, vm.uuid, Generation(event.data.sequence))
    content = _genisoimage(vm, guest.merged_into(VmData()))
    driver.upload(vm, Image(name, "config", content, sha256=""), seen.storage)
    if kind != "deploy":
        driver.attach(vm, name, seen.storage)
        for stored in seen.images:
            driver.delete(vm, stored)


def _genisoimage(vm: Vm, data: VmData) -> bytes:
    with tempfile.TemporaryDirectory(prefix="cd-naive-") as scratch:
        tree, image = Path(scratch) / "tree", Path(scratch) / "drive.iso"
        for path, content in render(vm, data, None).items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_bytes(content)
        program = shutil.which("genisoimage") or "genisoimage"
        # The seed's own command, and what every reader needs beside it.
        command = [program, "-quiet", "-iso-level", "3", "-J", "-r", "-V", "config", "-o", str(image), str(tree)]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - an argument list of ours
        return image.read_bytes()


def main() -> int:
    """Work until asked to end."""
    pool, concurrency = sys.argv[1], int(sys.argv[2])
    settings = load_settings()
    set_up_logging(settings.log_format)
    app = make_peers(settings)
    signals.setup_logging.connect(lambda **_named: None, weak=False)
    app.Worker(
        hostname="peers@localhost",
        queues=[QUEUE],
        pool_cls=pool,
        concurrency=concurrency,
        loglevel=logging.INFO,
        task_events=True,
        without_gossip=True,
        without_mingle=True,
        quiet=True,
    ).start()
    return 0


if __name__ == "__main__":
    sys.exit(main())
