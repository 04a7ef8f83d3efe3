"""A VM moves to another host, and its config drive with it: real workers, two real libvirtds, real live migrations."""

from pathlib import Path

import pytest

from configdrive.contract.outcome import Status
from tests.e2e.kvm.moving import NewVm, require_moved, require_untouched, running
from tests.e2e.kvm.site import ALONE, LOCAL, OTHER, POOLLESS, SHARED, Site
from tests.e2e.orchestrator import GUEST, PASSWORD

LATER = "comes with the next start"


@pytest.mark.usefixtures("other_name")
@pytest.mark.parametrize(
    ("storage", "attach", "prepared", "facts"),
    [
        (SHARED, "fleet", True, {"attach": "already", "storage": SHARED}),
        (SHARED, "fleet", False, {"attach": "already"}),
        (LOCAL, "fleet", False, {"attach": "inserted"}),
        (LOCAL, "orchestrator", True, {"storage": LOCAL}),
        (POOLLESS, "fleet", True, {"attach": "already", "storage": "host-cache"}),
        (ALONE, "fleet", True, {"attach": "already", "storage": "another-name"}),
        (ALONE, "orchestrator", True, {"storage": "another-name"}),
    ],
)
def test_a_config_drive_moves_with_its_vm(
    new_vm: NewVm, storage: str, attach: str, facts: dict[str, str], *, prepared: bool
) -> None:
    """Nothing is copied on shared storage; a local pool is found by its directory; unannounced, it comes afterwards."""
    vm, shared = new_vm(storage), storage == SHARED
    if attach == "fleet":
        path = running(vm)
    else:
        answer = vm.send("deploy", start=True, attach=attach, primary_storage=storage, guest=GUEST)
        path = Path(answer.facts["path"])
        vm.define(drives=answer.facts["xml"], transient=True)
    content = vm.images("h1")[path]
    stamp = path.stat() if shared else None
    if prepared:
        assert vm.migrate("prepare").status is Status.APPLIED
        require_untouched(vm, path)
        assert vm.images("h2") == {path: content}
    vm.move(undefine=prepared and not shared)
    assert vm.guest_has("h2") == (str(path) if prepared or shared else None)
    completed = vm.migrate("complete") if prepared else vm.send("migrate", destination="h2")
    assert (completed.status, completed.facts) == (Status.APPLIED, completed.facts | facts | {"path": str(path)})
    require_moved(vm, path, content)
    if stamp is None:
        assert vm.images("h1") == {}
    else:
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == (stamp.st_ino, stamp.st_mtime_ns)
    vm.power_off("h2")
    assert vm.send("stop", host="h2").status is Status.APPLIED
    assert vm.images("h2") == {}


def test_on_local_storage_it_moves_with_prepare_and_a_password_waits_for_the_next_start(new_vm: NewVm) -> None:
    vm = new_vm(LOCAL)
    path = running(vm)
    content = vm.images("h1")[path]
    assert vm.send("password_reset", guest={"password": LATER}).facts["password"] == "pending"
    assert vm.migrate("prepare").status is Status.APPLIED
    require_untouched(vm, path)
    assert vm.images("h2") == {path: content}
    vm.move()
    completed = vm.migrate("complete")
    facts = completed.facts["attach"], completed.facts["password"]
    assert (completed.status, *facts) == (Status.APPLIED, "already", "on_drive")
    require_moved(vm, path, content)
    assert vm.images("h1") == {}

    vm.power_off("h2")
    assert vm.send("stop", host="h2").status is Status.APPLIED
    assert vm.images("h2") == {}
    assert vm.send("start", host="h2").status is Status.APPLIED
    (fresh,) = vm.images("h2").values()
    assert (LATER.encode() in fresh, PASSWORD.encode() in fresh) == (True, False)


def test_a_vm_that_came_in_the_middle_of_the_copy_has_the_right_bytes_at_once(new_vm: NewVm, hosts: Site) -> None:
    """A volume has its name and its full length before it has its content; here its copier has died."""
    vm = new_vm(LOCAL)
    path = running(vm)
    content = vm.images("h1")[path]
    half = content[: len(content) // 2].ljust(len(content), b"\0")
    there = hosts.hosts["h2"].outside(path)
    there.parent.mkdir(exist_ok=True)
    there.write_bytes(half)
    vm.move()
    assert vm.opened == half
    completed = vm.migrate("complete")
    assert (completed.status, completed.facts["attach"]) == (Status.APPLIED, "inserted")
    require_moved(vm, path, content)
    assert vm.opened == content


def test_a_vm_that_moves_while_its_image_is_copied_is_refused_nothing(new_vm: NewVm) -> None:
    vm = new_vm(LOCAL)
    path = running(vm)
    content = vm.images("h1")[path]
    prepare = vm.script.event("migrate", hypervisor="kvm", phase="prepare", destination="h2")
    vm.fleet.publisher.publish(prepare)
    vm.move()
    assert vm.migrate("complete").status is Status.APPLIED
    require_moved(vm, path, content)
    assert vm.images("h1") == {}


def test_there_and_back_again(new_vm: NewVm) -> None:
    vm = new_vm(LOCAL)
    path = running(vm)
    content = vm.images("h1")[path]
    for to in ("h2", "h1"):
        assert vm.migrate("prepare", destination=to, host=None).status is Status.APPLIED
        vm.move(to, undefine=False)
        assert vm.migrate("complete", destination=to, host=None).status is Status.APPLIED
    assert vm.guest_has("h1") == str(path)
    assert (vm.images("h1"), vm.images("h2")) == ({path: content}, {})
    assert (vm.media("h1"), vm.media("h2")) == ({str(path)}, set())


def test_the_image_follows_a_root_disk_to_another_pool_with_the_next_start(new_vm: NewVm, hosts: Site) -> None:
    vm = new_vm(LOCAL)
    before = running(vm)
    assert before.is_relative_to(hosts.directory / LOCAL)
    vm.power_off()
    vm.move_root(hosts.directory / OTHER)
    assert vm.send("start").facts["storage"] == OTHER
    vm.power_on()
    (after,) = vm.images("h1")
    assert after.is_relative_to(hosts.directory / OTHER)
    require_untouched(vm, after)


def test_a_running_vm_whose_root_disk_was_moved_migrates_and_then_its_image_follows(new_vm: NewVm, hosts: Site) -> None:
    vm = new_vm(LOCAL)
    before = running(vm)
    content = vm.images("h1")[before]
    vm.copy_root(hosts.directory / OTHER)
    assert vm.migrate("prepare").facts["storage"] == LOCAL
    assert vm.images("h2") == {before: content}
    vm.move()
    assert vm.migrate("complete").facts["storage"] == OTHER
    after = hosts.directory / OTHER / before.relative_to(hosts.directory / LOCAL)
    require_moved(vm, after, content)
    assert vm.images("h1") == {}
