"""Breaks of the product, each made on purpose: lives must find every one (`make lives-proof`)."""

import re
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import pytest
from hypothesis.errors import FlakyFailure

from configdrive.client import scripts as client_scripts
from configdrive.contents.render import Files, render
from configdrive.contract.events import LifecycleEvent, short_type
from configdrive.drive_data import VmData
from configdrive.lifecycle import execute, orphans, plan, reconcile, verify
from configdrive.lifecycle.orphans import Scene
from configdrive.lifecycle.settled import Verified
from configdrive.lifecycle.state import VmRecord
from configdrive.model import ImageName, StoredImage, Vm
from tasks import policy, storage_sweep
from tests.lives.machine import run_lives
from tests.mailboxes import shared_redis_url
from tests.unit.fakes import cloud
from workers.store import scripts

Break = Callable[[pytest.MonkeyPatch], None]
LIVES = 400
"""So many at most are lived on a broken product before the break counts as not found."""


def _in_script(patch: pytest.MonkeyPatch, names: set[str], pattern: str, instead: str) -> None:
    source = client_scripts.source

    def broken(name: str, *package: str) -> str:
        text = source(name, *package)
        return re.sub(pattern, instead, text) if name in names else text

    assert all(broken(name, scripts.PACKAGE) != source(name, scripts.PACKAGE) for name in names)
    patch.setattr(scripts, "source", broken)


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """Whoever was overtaken goes on, and ends what is another's."""
    _in_script(patch, {"renew", "done"}, r"then return (0|.*'fenced') end", "then end")


def a_lower_number_supersedes(patch: pytest.MonkeyPatch) -> None:
    """What takes away wins over what is newer."""

    def successor(event: LifecycleEvent, waiting: tuple[reconcile.Waiting, ...]) -> str | None:
        kinds = {one.event_type for one in waiting}
        return next((kind for kind in ("destroy", "stop") if kind in kinds - {short_type(event.type)}), None)

    patch.setattr(reconcile, "_successor", successor)


def no_intents(patch: pytest.MonkeyPatch) -> None:
    """Nobody knows what a worker was about to bring when it died."""
    patch.setattr(execute.Executor, "_intend", lambda *_arguments: ())


def detach_takes_all(patch: pytest.MonkeyPatch) -> None:
    """What is taken out of the drive is whatever is there, not what was looked at."""
    detach = cloud.MemoryDriver.detach
    patch.setattr(cloud.MemoryDriver, "detach", lambda self, vm, _media=None, added=None: detach(self, vm, None, added))


def destroy_leaves_images(patch: pytest.MonkeyPatch) -> None:
    """Nothing is deleted."""
    patch.setattr(plan, "_deletions", lambda *_observed, **_named: ())


def the_named_host_only(patch: pytest.MonkeyPatch) -> None:
    """An event looks at no host but the one that it names."""
    patch.setattr(plan, "Leave", _Nowhere)


class _Nowhere(plan.Detach):
    def __init__(self, _host: str) -> None:
        super().__init__(())


def a_sweep_deletes_what_is_in_a_drive(patch: pytest.MonkeyPatch) -> None:
    """Neither the sweep nor the hypervisor looks whether an image is in use."""
    judge = orphans.judge

    def blind(image: StoredImage, seen: Scene, known: VmRecord | None, fleet: str | None = None) -> orphans.Why:
        return judge(image, replace(seen, users={}), known, fleet)

    def delete(driver: cloud.MemoryDriver, _vm: Vm, image: StoredImage, *, anyones: bool = True) -> None:
        assert anyones is not None
        driver.cloud.files.pop(image, None)

    patch.setattr(storage_sweep, "judge", blind)
    patch.setattr(cloud.MemoryDriver, "delete", delete)


def nothing_is_verified(patch: pytest.MonkeyPatch) -> None:
    """What a worker has left half-done is taken for well."""
    patch.setattr(verify.Verifier, "verify", lambda *_arguments: Verified())


def half_an_image_is_trusted(patch: pytest.MonkeyPatch) -> None:
    """What an interrupted upload has left under an image's name is attached."""
    patch.setattr(execute, "distrust", lambda observed, _goal: observed)


def the_users_drive_goes(patch: pytest.MonkeyPatch) -> None:
    """A stop removes the drive that was there before us."""
    detach = cloud.MemoryDriver.detach

    def removing(
        driver: cloud.MemoryDriver, vm: Vm, media: Collection[ImageName] | None = None, added: str | None = None
    ) -> None:
        detach(driver, vm, media, added)
        machine = driver.cloud.machines.get(vm.uuid)
        if machine is not None and machine.host == vm.host and machine.medium is None:
            machine.slot = False

    patch.setattr(cloud.MemoryDriver, "detach", removing)


def another_event_s_content(patch: pytest.MonkeyPatch) -> None:
    """The drive holds what an event that says nothing asks for."""

    def empty(*arguments: Any, **named: Any) -> Files:  # noqa: ANN401 - whatever it takes
        return render(arguments[0], VmData(), *arguments[2:], **named)

    patch.setattr(execute, "render", empty)


def an_end_takes_its_time(patch: pytest.MonkeyPatch) -> None:
    """What failed is tried again much later."""
    patch.setattr(policy, "backoff", lambda *_arguments: 500.0)


_STOPPED = frozenset({"a_worker_stands_still_or_dies_and_the_vm_starts_again", "another_worker_goes_on"})
_VERIFIED = _STOPPED | {"hosts_are_asked_and_vms_verified"}
_MOVED = _STOPPED | {"publish", "the_vm_moves"}
_SWEPT = frozenset({"the_host_is_away_over_an_event", "storage_is_swept", "an_operator_acts"})
_SKIPPED = _VERIFIED | {"an_operator_acts"}
_REORDERED = frozenset({"publish", "another_worker_goes_on"})

BREAKS: dict[Break, frozenset[str]] = {
    no_fence: _STOPPED,
    a_lower_number_supersedes: _REORDERED,
    no_intents: _SKIPPED,
    detach_takes_all: _STOPPED,
    destroy_leaves_images: _STOPPED,
    the_named_host_only: _MOVED,
    a_sweep_deletes_what_is_in_a_drive: _SWEPT,
    nothing_is_verified: _VERIFIED,
    half_an_image_is_trusted: _STOPPED,
    the_users_drive_goes: _STOPPED,
    another_event_s_content: _STOPPED | {"publish"},
    an_end_takes_its_time: _SWEPT,
}
"""What the lives are made of that find each break soonest."""


def assert_found(broken: Break, patch: pytest.MonkeyPatch, lives: int = LIVES) -> None:
    """Break the product and let lives be lived, until one of them does not go as it must."""
    broken(patch)
    with pytest.raises((AssertionError, FlakyFailure)):  # the second one: found, but not in the same way again
        run_lives(shared_redis_url(1), lives, rules=BREAKS[broken])


@pytest.mark.timeout(900)
@pytest.mark.parametrize("broken", BREAKS, ids=lambda one: one.__name__)
def test_break_is_found(broken: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is found."""
    assert_found(broken, monkeypatch)
