"""Sweeping storage, so that what no VM needs is deleted, under the VM's lease; and adopting what nobody remembers."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from configdrive.client.postings import queue_name
from configdrive.errors import FleetError, PermanentError
from configdrive.lifecycle.adoption import adoptable, record_of
from configdrive.lifecycle.orphans import Scene, Why, judge, of_vm, scene
from configdrive.lifecycle.state import Phase, VmRecord, peek, write
from configdrive.model import HostName, ImageName, InstanceName, StoredImage, Vm, VmUuid
from configdrive.ports import Clock, DropsMedia, HypervisorDriver, Survey, SurveysDeep
from tasks.lease import LeaseKeeper
from tasks.leftovers import Leftovers
from tasks.mailbox import FencedError, Held, NotNow, SweeperMailbox

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is to be said of one image: on which host it was found, why it stays or goes, and whether it is gone.

    `error` is what kept one that should go from being deleted.
    """

    image: StoredImage
    host: HostName
    why: Why
    deleted: bool = False
    error: FleetError | None = None


@dataclass(frozen=True, slots=True)
class Adoption:
    """What is remembered of one VM from now on; `why_not` says why it was left alone."""

    uuid: VmUuid
    record: VmRecord
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class StorageSweeper:
    """Goes through the storages of one hypervisor's hosts.

    Args:
        mailbox: what is remembered of VMs, and their leases.
        driver: of the hypervisor.
        clock: for the records of what is adopted.
        leases: keeps the lease on a VM alive while its images are judged.
        grace: seconds for which an image must have been seen to be nobody's.
        leftovers: collects from hosts that were away.
        fleet: the fleet's id: another one's images are shown, and stay. `None`: any may be swept.
    """

    mailbox: SweeperMailbox
    driver: HypervisorDriver
    clock: Clock
    leases: LeaseKeeper
    grace: float
    leftovers: Leftovers
    fleet: str | None = None

    def look(self, *, deep: bool = False, progress: Callable[[int], None] = lambda _hosts: None) -> Scene:
        """Look at all hosts, `deep` wherever an image may lie; those that do not answer are named.

        `progress` is called with 1 after each host.
        """
        driver = self.driver
        survey = driver.survey_deep if deep and isinstance(driver, SurveysDeep) else driver.survey
        surveys: dict[HostName, Survey] = {}
        away: list[HostName] = []
        with self.leases.in_line(f"survey {secrets.token_hex(8)}"):
            for host in driver.hosts():
                try:
                    surveys[host] = survey(host)
                except FleetError as error:
                    _log.warning("host %s was left out: %s", host, error)
                    away.append(host)
                progress(1)
        return scene(surveys, away)

    def judge_all(self, seen: Scene) -> Iterator[Finding]:
        """Say what a sweep would do; change nothing."""
        for image, host in seen.images.items():
            known = self.mailbox.snapshot(image.name.vm_uuid)
            why = Why.IN_WORK if known.in_work else self._judge(image, seen, known.state, note=False)
            yield Finding(image, host, why)

    def sweep(self, seen: Scene) -> Iterator[Finding]:
        """Delete what no VM needs, and say what was found."""
        for uuid in dict.fromkeys(image.name.vm_uuid for image in seen.images):
            images = of_vm(uuid, seen.images)
            asked = self.leases.now()
            held = self.mailbox.hold(uuid)
            if isinstance(held, NotNow):
                yield from (Finding(image, seen.images[image], Why.IN_WORK) for image in images)
                continue
            try:
                yield from self._sweep_vm(held, asked, images, seen)
            finally:
                self._release(held)

    def adopt(self, seen: Scene, *, dry_run: bool, fleet: str | None = None) -> Iterator[Adoption]:
        """Remember every VM that has a drive or an image of this fleet's, or of `fleet`'s, and is not remembered."""
        for uuid in adoptable(seen, fleet or self.fleet):
            record = record_of(uuid, self.driver.name, seen, self.clock.now())
            if uuid not in seen.vms and seen.away:
                yield Adoption(uuid, record, "a host that does not answer may have it")
                continue
            held = self.mailbox.snapshot(uuid) if dry_run else self.mailbox.hold(uuid)
            why_not = ""
            if isinstance(held, NotNow) or (not isinstance(held, Held) and held.in_work):
                why_not = "an event of it waits or is in work"
            elif held.state is not None:
                why_not = "it is remembered"
            elif self.mailbox.intents(uuid):
                why_not = "what an attempt at it has begun is looked after first"
            if isinstance(held, Held):
                self._release(held, None if why_not else write(record))
            yield Adoption(uuid, record, why_not)

    def dropped(self) -> Iterator[tuple[VmUuid, HostName, ImageName]]:
        """Have the drives filled that a hypervisor has left empty, and say whose they are.

        The VM is verified like one that was left half-done: its image is put back, or built anew, once that can be.
        """
        if not isinstance(self.driver, DropsMedia):
            return
        for host in self.driver.hosts():
            try:
                found = self.driver.dropped(host)
            except FleetError as error:
                _log.warning("host %s was left out: %s", host, error)
                continue
            for uuid, image in found.items():
                known = self.mailbox.snapshot(uuid)
                record = None if known.state is None or known.in_work else peek(known.state)
                if record is not None and record.vm is not None and record.phase is Phase.ATTACHED:
                    self.mailbox.note_doubt(queue_name(self.driver.name, record.vm.zone), uuid)
                    yield uuid, host, image

    def _sweep_vm(self, held: Held, asked: float, images: list[StoredImage], seen: Scene) -> Iterator[Finding]:
        with self.leases.keep(held, asked) as lease:
            for image in images:
                host = seen.images[image]
                why = self._judge(image, seen, held.state, note=True)
                error = None
                if why.goes:
                    try:
                        lease.check()
                        self.driver.delete(self._owner(image, host), image)
                        self.mailbox.forget_orphan(image.name)
                    except FleetError as failure:
                        error = failure
                yield Finding(image, host, why, deleted=why.goes and error is None, error=error)

    def _judge(self, image: StoredImage, seen: Scene, state: str | None, *, note: bool) -> Why:
        """Judge one image; what is nobody's has to be so for a while, to be safe from a Redis that was just lost."""
        try:
            why = judge(image, seen, None if state is None else peek(state), self.fleet)
        except PermanentError:
            return Why.UNREADABLE
        if why is not Why.VM_UNKNOWN:
            if note:
                self.mailbox.forget_orphan(image.name)
            return why
        known_for = self.mailbox.orphan_for(image.name, note=note)
        return why if known_for is not None and known_for >= self.grace else Why.NEW

    def _owner(self, image: StoredImage, host: HostName) -> Vm:
        return Vm(image.name.vm_uuid, InstanceName(image.name.instance_name), self.driver.name, host)

    def _release(self, held: Held, state: str | None = None) -> None:
        with suppress(FencedError):  # another worker has taken the VM over: nothing was written
            self.mailbox.release(held, state)
