"""A small fleet that answers Prometheus, after it has lived through what there is to count."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from configdrive.errors import PermanentCode, TransientCode
from configdrive.model import Generation, ImageName, VmUuid
from rigs.cloud import VmScript
from rigs.process import Daemon
from rigs.simulated.faults import Raise
from rigs.worker import CONFIGDRIVE
from tests.e2e.known_secrets import PASSWORD, USER_DATA
from tests.e2e.site import QUICK, Site, new_vm
from tests.integration.metrics.asking import address_in
from tests.support import require_rig
from workers.hypervisors.simulated.inventory import Verb


@dataclass(frozen=True, slots=True)
class Measured:
    """The fleet, where its worker and its storage sweeper answer, and the VM that is parked."""

    site: Site
    worker: str
    sweeper: str
    parked: VmScript
    vms: tuple[VmScript, ...]


@pytest.fixture(scope="package")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    """Three VMs applied (one at the third attempt), one parked, one dead letter, one image of nobody."""
    with require_rig():
        settings = {**QUICK, "orphan_seconds": 3600, "lease_seconds": 30}
        site = Site(tmp_path_factory.mktemp("measured"), settings=settings, options=["--metrics-port", "0"])
    log = site.directory / "sweeper.log"
    argv = [CONFIGDRIVE, "sweep", "--every", "1", "--metrics-port", "0"]
    sweeper = Daemon(argv, log, site.environment)
    with site:
        vms = tuple(new_vm() for _ in range(4))
        *_, flaky, wrong = vms
        site.inject(
            Raise(verb=Verb.ATTACH, code=TransientCode.HOST_UNREACHABLE, vm=flaky.uuid, times=2),
            Raise(verb=Verb.UPLOAD, code=PermanentCode.ACCESS_DENIED, vm=wrong.uuid),
        )
        guest = {"password": PASSWORD, "user_data": {"text": USER_DATA}}
        for vm in vms:
            (event,) = site.publish(vm.event("deploy", guest=guest, start=True))
            site.ended(event)
        image = site.cloud.world.files()[0]
        made = ImageName.parse(image.name)
        assert made is not None
        other = ImageName.of("nobody-s", VmUuid(new_vm().uuid), Generation(1), made.fingerprint, made.fleet)
        shutil.copy(image, image.with_name(str(other)))
        with site.redis.client() as client:
            client.lpush(f"{site.settings.key_prefix}configdrive.simulated", "no wake-up")
        sweeper.start()
        try:
            yield Measured(site, address_in(lambda: site.log), address_in(log.read_text), wrong, vms)
        finally:
            sweeper.stop()
