"""Two hosts of the rig are one pool: one master, storages that one or both see, transfers where the storage is."""

from __future__ import annotations

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from rigs.xapi import XapiPool, XapiSite
from tests.integration.xenserver.client import Failure
from tests.integration.xenserver.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOT_PAUSED = (False, False)
LOCAL = {"location": "/srv/isos", "legacy_mode": "true"}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with XapiPool(tmp_path / "pool", ("xapi-A", "xapi-B")) as pool, Stage.open(pool) as stage:
        for host in pool.hosts:
            stage.folder(host, LOCAL["location"])
        yield stage


def details(act: object, *arguments: object) -> list[str]:
    assert callable(act)
    with pytest.raises(Failure) as failure:
        act(*arguments)
    return failure.value.details


def test_an_import_is_sent_to_the_host_that_sees_the_storage(stage: Stage) -> None:
    there = stage.pool.hosts[1]
    image = stage.vdi(stage.iso_sr(LOCAL, host=there.reference), "b.iso")
    task = stage.master("task.create", "import", "")
    target = f"/import_raw_vdi?session_id={stage.master.session}&vdi={image}&format=raw&task_id={task}"
    with stage.master.ask(target, 1000) as (response, _):
        location = str(response.getheader("Location"))
        assert (response.status, location) == (302, there.url + target)
    assert stage.master("task.get_status", task) == "pending"
    with stage.client(there) as slave, slave.ask(location.removeprefix(there.url), 1000) as (response, body):
        assert response.status == 200
        body.sendall(bytes(1000))
        assert response.read() == b""
    assert stage.master.state(task)[1] == "success"


def test_a_hosts_certificate_is_for_that_host(stage: Stage) -> None:
    there = stage.pool.hosts[1]
    context = ssl.create_default_context(cafile=str(stage.pool.ca))
    assert there.fingerprint != stage.pool.hosts[0].fingerprint
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(context, (there.address, stage.pool.port), "127.0.0.1")
    _handshake(context, (there.address, stage.pool.port), there.address)


def _handshake(context: ssl.SSLContext, address: tuple[str, int], name: str) -> None:
    with socket.create_connection(address, timeout=10) as plain, context.wrap_socket(plain, server_hostname=name):
        pass


def test_another_host_becomes_the_master(stage: Stage) -> None:
    here, there = stage.pool.hosts
    with stage.client(there) as other:
        assert details(other, "VM.get_all") == ["HOST_IS_SLAVE", here.address]
        stage.pool.make_master("xapi-B")
        assert details(stage.master, "VM.get_all") == ["HOST_IS_SLAVE", there.address]
        assert details(other, "VM.get_all") == ["SESSION_INVALID", other.session]
        other.login(stage.pool.user, stage.pool.password)
        assert len(other("VM.get_all")) == 2
        assert other("pool.get_master", other("pool.get_all")[0]) == there.reference
    assert stage.pool.url == there.url


def test_the_masters_toolstack_comes_back_without_sessions_and_tasks(stage: Stage) -> None:
    task = stage.master("task.create", "import", "")
    stage.pool.take_down("xapi-A", dead=False)
    stage.pool.bring_up("xapi-A")
    with stage.client(stage.pool.hosts[0]) as client:
        assert details(client, "VM.get_all") == ["SESSION_INVALID", client.session]
        client.login(stage.pool.user, stage.pool.password)
        assert details(client, "task.get_record", task) == ["HANDLE_INVALID", "task", task]


def test_a_host_boots(stage: Stage) -> None:
    with stage.pool.booting("xapi-A"):
        assert details(stage.master, "VM.get_all") == ["HOST_STILL_BOOTING"]
        login = ("session.login_with_password", stage.pool.user, stage.pool.password)
        assert details(stage.master.bare, *login) == ["HOST_STILL_BOOTING"]
    assert len(stage.master("VM.get_all")) == 2


def test_a_host_is_down(stage: Stage) -> None:
    there = stage.pool.hosts[1]
    vm = stage.vm()
    with stage.pool.down("xapi-B"):
        assert details(stage.master, "VM.start_on", vm, there.reference, *NOT_PAUSED) == ["HOST_NOT_LIVE"]
        with stage.client(there) as gone, pytest.raises(ConnectionRefusedError):
            gone("VM.get_all")
    stage.master("VM.start_on", vm, there.reference, *NOT_PAUSED)


def test_a_hosts_toolstack_is_away(stage: Stage) -> None:
    there = stage.pool.hosts[1]
    image = stage.vdi(stage.iso_sr(LOCAL, host=there.reference), "b.iso")
    vm = stage.vm()
    drive = stage.vbd(vm, "3")
    stage.master("VM.start_on", vm, there.reference, *NOT_PAUSED)
    stage.pool.take_down("xapi-B", dead=False)
    cannot = ["CANNOT_CONTACT_HOST", there.reference]
    assert details(stage.master, "VBD.insert", drive, image) == cannot
    assert details(stage.master, "VDI.destroy", image) == cannot
    assert details(stage.master, "VM.hard_shutdown", vm) == cannot
    stage.pool.bring_up("xapi-B")
    stage.master("VBD.insert", drive, image)


def test_a_shared_iso_storage_is_seen_by_both(stage: Stage) -> None:
    export = XapiSite(stage.pool).export("nfs1", "/export/cd")
    sr = stage.iso_sr({"location": "nfs1:/export/cd", "type": "nfs_iso"}, shared=True)
    record = stage.master("SR.get_record", sr)
    assert record["sm_config"] == {"iso_type": "nfs_iso"}
    assert len(record["PBDs"]) == 2
    stage.vdi(sr, "a.iso")
    assert [path.name for path in export.iterdir()] == ["a.iso"]
    for host in stage.pool.hosts:
        assert (host.root / "run/sr-mount" / record["uuid"] / "a.iso").is_file()
    for pbd in record["PBDs"]:
        stage.master("PBD.unplug", pbd)
        assert not (stage.pool.hosts[0].root / "run/sr-mount" / record["uuid"]).exists()
        break


def test_a_vm_moves_and_takes_a_shared_image_along(stage: Stage) -> None:
    XapiSite(stage.pool).export("nfs1", "/export/cd")
    image = stage.vdi(stage.iso_sr({"location": "nfs1:/export/cd", "type": "nfs_iso"}, shared=True), "a.iso")
    vm = stage.vm()
    stage.vbd(vm, "3", image)
    here, there = stage.pool.hosts
    stage.master("VM.start_on", vm, here.reference, *NOT_PAUSED)
    stage.master("VM.pool_migrate", vm, there.reference, {"live": "true"})
    assert stage.master("VM.get_resident_on", vm) == there.reference
    assert stage.master("host.get_resident_VMs", there.reference)[-1] == vm


def test_one_of_many_gets_a_key_into_a_map(stage: Stage) -> None:
    sr = stage.iso_sr(LOCAL)

    def claim(number: int) -> list[str]:
        with stage.client(stage.pool.hosts[0]) as client:
            try:
                client("SR.add_to_other_config", sr, "claim", str(number))
            except Failure as failure:
                return failure.details
        return []

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(claim, range(8)))
    assert sorted(answers) == [[], *[["MAP_DUPLICATE_KEY", "SR", "other_config", sr, "claim"]] * 7]
    stage.master("SR.remove_from_other_config", sr, "claim")
    stage.master("SR.remove_from_other_config", sr, "claim")
    assert stage.master("SR.get_other_config", sr) == {}
