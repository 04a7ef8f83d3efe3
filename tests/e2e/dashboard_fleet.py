"""Two minutes of a fleet with some trouble in it: `python -m tests.e2e.dashboard_fleet` draws the dashboard of them.

All that Prometheus has is real: workers, a storage sweeper, CloudStack's webhook and gate as processes of their own.
"""

import json
import random
import re
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from configdrive.errors import PermanentCode, TransientCode
from configdrive.model import Generation, HostName, ImageName, StorageName, VmUuid
from docs import dashboard
from rigs import simulated
from rigs.browser import Browser
from rigs.certificates import Certificates
from rigs.cloud import HOST, STORAGE, VmScript
from rigs.cloudstack import CloudStack, machine
from rigs.process import LOOPBACK, Daemon, free_port
from rigs.prometheus import Prometheus
from rigs.simulated.faults import Hang, Raise
from rigs.worker import CONFIGDRIVE, Worker
from tests.e2e.site import QUICK, Site
from tests.integration.cloudstack.site import AdapterSite, Hook, started
from tests.integration.metrics.asking import address_in
from workers.hypervisors.simulated.image_folder import DOWN
from workers.hypervisors.simulated.inventory import Verb
from workers.hypervisors.simulated.topology import StorageSpec

SECONDS: Final = 120
PICTURE: Final = Path(__file__).resolve().parents[2] / "docs" / "images" / "dashboard.png"

_AWAY: Final = "h2"
_NEXT: Final = {
    "new": ["deploy"],
    "deploy": ["start"],
    "start": ["stop", "stop", "password_reset", "update"],
    "password_reset": ["stop"],
    "update": ["stop", "password_reset"],
    "stop": ["start", "start", "destroy"],
}
_SCRAPE_SECONDS: Final = 2.0


class Life:
    """Events of ever other VMs, and the troubles among them, by the second at which they come."""

    def __init__(self, site: Site, cloudstack: CloudStack, hook: Hook) -> None:
        self._site, self._cloudstack, self._hook = site, cloudstack, hook
        self._random = random.Random(7)  # noqa: S311 - any lives will do
        self._vms: list[tuple[VmScript, str, str]] = []
        self._down = site.cloud.directory / "hosts" / _AWAY / DOWN
        self.troubles: dict[int, Callable[[], object]] = {
            15: self._nobody_s_image,
            25: self._down.touch,
            40: self._denied,
            50: self._down.unlink,
            60: self._burst,
            75: site.workers[1].kill,
            85: site.workers[1].start,
            95: self._no_wakeup,
        }

    def second(self, number: int) -> None:
        """Live one second."""
        if trouble := self.troubles.get(number):
            trouble()
        for _ in range(3):
            self._step()
        self._program()
        if number % 4 == 0:
            vm = str(uuid.uuid4())
            self._cloudstack.vms[vm] = machine(vm)
            self._hook.post(started(vm))
        if number % 9 == 0:
            self._hook.post(b"{}", signature="wrong")

    def _step(self) -> None:
        known = self._vms.pop(self._random.randrange(len(self._vms))) if len(self._vms) > 40 else None
        vm, host, last = known or (VmScript(), self._random.choice([HOST, HOST, _AWAY]), "new")
        kind = self._random.choice(_NEXT[last])
        data = {"guest": {"password": "Hunter2-of-the-guest"}} if kind == "password_reset" else {}
        self._site.publish(vm.event(kind, host=host, **data))
        if kind != "destroy":
            self._vms.append((vm, host, kind))

    def _program(self) -> None:
        """Be a program of any language, which knows no more than a list."""
        with self._site.redis.client() as client:
            client.lpush(f"{self._site.settings.key_prefix}intake", json.dumps(VmScript().event("deploy")))

    def _denied(self) -> None:
        for _ in range(3):
            vm = VmScript()
            self._site.inject(Raise(verb=Verb.UPLOAD, code=PermanentCode.ACCESS_DENIED, vm=vm.uuid))
            self._site.publish(vm.event("deploy"))

    def _burst(self) -> None:
        self._site.inject(Hang(verb=Verb.UPLOAD, seconds=0.4, times=60))
        self._site.inject(Raise(verb=Verb.ATTACH, code=TransientCode.DRIVE_LOCKED, times=15))
        for _ in range(120):
            self._step()

    def _no_wakeup(self) -> None:
        with self._site.redis.client() as client:
            client.lpush(f"{self._site.settings.key_prefix}configdrive.simulated", "no wake-up")

    def _nobody_s_image(self) -> None:
        """Copy an image to the name of a VM that nobody knows."""
        image = self._site.cloud.world.files()[0]
        made = ImageName.parse(image.name)
        assert made is not None
        for number in (1, 2):
            name = ImageName.of(
                f"nobody-{number}", VmUuid(VmScript().uuid), Generation(1), made.fingerprint, made.fleet
            )
            shutil.copy(image, image.with_name(str(name)))


@contextmanager
def watched(directory: Path) -> Iterator[tuple[Life, Prometheus]]:
    """Have such a fleet for a while.

    Raises:
        RigUnavailable: a program is not installed.
        RigError: something did not start.
    """
    hosts = {HostName(name): {StorageName(STORAGE): StorageSpec()} for name in (HOST, _AWAY)}
    settings = {**QUICK, "orphan_seconds": 3600, "attempts": 6, "backoff_most_seconds": 4.0}
    site = Site(directory / "site", workers=0, settings=settings, hosts=hosts, latency_ms=15)
    ports = [free_port() for _ in range(2)]
    site.workers += [
        Worker(site.directory, f"simulated-{number}", site.environment, options=["--metrics-port", str(port)])
        for number, port in enumerate(ports, 1)
    ]
    log = site.directory / "sweeper.log"
    argv = [CONFIGDRIVE, "sweep", "--every", "10", "--metrics-port", "0"]
    sweeper = Daemon(argv, log, site.environment)
    (pki := directory / "pki").mkdir()
    certificates = Certificates.make(pki, LOOPBACK)
    with ExitStack() as stack:
        stack.enter_context(site)
        cloudstack = stack.enter_context(CloudStack(certificates))
        (place := directory / "adapters").mkdir()
        adapters = stack.enter_context(AdapterSite(place, site, cloudstack))
        sweeper.start()
        stack.callback(sweeper.stop)
        hook = adapters.webhook(certificates)
        others = [address_in(log.read_text), address_in(hook.daemon.log.read_text)]
        targets = [f"{LOOPBACK}:{port}" for port in ports]
        targets += [re.sub(r"http://([^/]+)/.*", r"\1", other) for other in others]
        prometheus = stack.enter_context(Prometheus(directory / "prometheus", targets, _SCRAPE_SECONDS))
        yield Life(site, cloudstack, hook), prometheus


def draw(directory: Path, seconds: int) -> Path:
    """Live for so long, and return the page."""
    with watched(directory) as (life, prometheus):
        began = time.time()
        for number in range(seconds):
            life.second(number)
            time.sleep(max(0.0, began + number + 1 - time.time()))
        page = directory / "dashboard.html"
        page.write_text(dashboard.page(*dashboard.read(prometheus, began, time.time())), "utf-8")
        return page


def main() -> None:
    """Write the picture that the documentation shows; and the page into the directory that is named, if one is."""
    simulated.plug_in()
    with tempfile.TemporaryDirectory() as scratch:
        page = draw(Path(scratch), SECONDS)
        if sys.argv[1:]:
            shutil.copy(page, sys.argv[1])
        Browser(Path(scratch)).picture(page.as_uri(), PICTURE, (1400, 3400))
    sys.stdout.write(f"{PICTURE.relative_to(PICTURE.parents[2])}\n")


if __name__ == "__main__":
    main()
