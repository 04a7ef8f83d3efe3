"""A fleet that Flower has watched: workers of two hypervisors, and events that came to every kind of end.

`python -m tests.e2e.flower_fleet` makes the pictures in docs/images of it.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from configdrive.errors import PermanentCode, TransientCode
from configdrive.model import EventKey
from rigs import simulated
from rigs.browser import Browser
from rigs.cloud import VmScript
from rigs.flower import Flower
from rigs.process import wait_until
from rigs.redis import RedisServer
from rigs.simulated.faults import Raise
from rigs.worker import Worker
from tests.e2e.known_secrets import PASSWORD, USER_DATA
from tests.e2e.site import QUICK, Site, new_vm
from workers.hypervisors.simulated.inventory import Verb

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"

_KVM = '[kvm.hosts.kvm-01]\nuri = "qemu:///system"\n'
_PICTURES = {"workers": (1400, 560), "tasks": (1400, 620), "task": (1400, 900)}


@dataclass(frozen=True, slots=True)
class Watched:
    """What there is to be seen; `vms` and `events` by what became of them."""

    site: Site
    flower: Flower
    vms: dict[str, VmScript]
    events: dict[str, EventKey]


@contextmanager
def watched(directory: Path, redis: RedisServer | None = None, **settings: object) -> Iterator[Watched]:
    """Have such a fleet for a while.

    Args:
        directory: gets all its files.
        redis: a server to share, started by the caller; a private one otherwise.
        settings: the fleet's, beside those that make it quick.

    Raises:
        RigUnavailable: redis-server is not installed.
        RigError: something did not start, or did not happen in time.
    """
    settings = {**QUICK, "backoff_seconds": 0.5, "backoff_most_seconds": 0.5, "attempts": 3, **settings}
    site = Site(directory / "site", workers=0, redis=redis, settings=settings)
    with (site.directory / "inventory.toml").open("a", encoding="utf-8") as inventory:
        inventory.write(_KVM)
    names = [*(["kvm-1"] if find_spec("libvirt") else []), "simulated-1", "simulated-2"]
    site.workers += [Worker(site.directory, name, site.environment, hypervisor=name[:-2]) for name in names]
    with site, Flower(site.directory, site.environment) as flower:
        yield _lived(site, flower)


def _lived(site: Site, flower: Flower) -> Watched:
    first, published = new_vm(), list["EventKey"]()  # Flower shows only what happens while it listens

    def listens() -> bool:
        published.extend(site.publish(first.event("deploy")))
        return any(map(flower.state, published))

    wait_until(listens, "Flower", timeout=60, interval=0.5)
    vms = {"applied": new_vm(), "parked": new_vm(), "retried": new_vm()}
    site.inject(
        Raise(verb=Verb.UPLOAD, code=PermanentCode.ACCESS_DENIED, vm=vms["parked"].uuid),
        Raise(verb=Verb.ATTACH, code=TransientCode.HOST_UNREACHABLE, vm=vms["retried"].uuid, times=1),
    )
    guest = {"password": PASSWORD, "user_data": {"text": USER_DATA}}
    events = {name: site.publish(vm.event("deploy", guest=guest, start=True))[0] for name, vm in vms.items()}
    for event in events.values():
        site.ended(event)
    ends = {"applied": "SUCCESS", "parked": "FAILURE", "retried": "SUCCESS"}

    def shown() -> bool:
        return all(flower.state(events[name]) == state for name, state in ends.items())

    wait_until(shown, "Flower to show all ends", timeout=20, interval=0.2)
    return Watched(site, flower, vms, events)


def make_pictures() -> None:
    """Write the pictures that the documentation shows."""
    simulated.plug_in()  # an event that parks, and one that is tried again, are made by its faults
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, watched(Path(scratch)) as seen:
        browser = Browser(Path(scratch))
        pages = {"workers": "/workers", "tasks": "/tasks", "task": f"/task/{seen.events['parked']}"}
        for name, size in _PICTURES.items():
            path = IMAGES / f"flower-{name}.png"
            browser.picture(seen.flower.url + pages[name], path, size)
            sys.stdout.write(f"{path.relative_to(IMAGES.parents[1])}\n")


if __name__ == "__main__":
    make_pictures()
