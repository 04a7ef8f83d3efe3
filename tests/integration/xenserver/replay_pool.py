"""Plays `pool.txt` again: two hosts, SRs that one or both see, migration, a slave's answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.xenserver.replay_iso import LONG

if TYPE_CHECKING:
    from rigs.xapi import XapiHost
    from tests.integration.xenserver.client import Client
    from tests.integration.xenserver.stage import Stage

LOCAL = {"location": "/srv/local", "legacy_mode": "true"}
SHARED = {"location": "/srv/shared", "legacy_mode": "true"}


def play(stage: Stage) -> None:
    """Every line, in order. The recorded pool names its hosts B first; a list of rows has no order."""
    client = stage.master
    here, there = stage.pool.hosts
    for host in (here, there):
        stage.folder(host, "/srv/local")
        stage.folder(host, "/srv/shared")
    hosts = client("host.get_all_records").values()
    metrics = client("host_metrics.get_all_records")
    stage.play(
        "hosts",
        lambda: sorted(
            ((row["name_label"], row["enabled"], metrics[row["metrics"]]["live"]) for row in hosts), reverse=True
        ),
    )
    stage.call("enable B", "host.enable", there.reference)
    local = stage.text("SR local on A", lambda: stage.iso_sr(LOCAL))
    shared = stage.text("SR shared", lambda: stage.iso_sr(SHARED, shared=True))
    stage.play("PBDs of shared", lambda: _pbds(client, shared))
    stage.play("PBD create+plug on B", lambda: _plug(client, shared, SHARED, there))
    local_vdi, shared_vdi = stage.vdi(local, "a.iso"), stage.vdi(shared, "s.iso")
    _migrations(stage, local_vdi, shared_vdi)
    _transfers(stage, local_vdi)
    login = (stage.pool.user, stage.pool.password, "1.0")
    with stage.client(there) as slave:
        stage.play("slave login", lambda: slave.bare("session.login_with_password", *login, "rig"))
        stage.play(
            "slave slave_local_login_with_password",
            lambda: slave.bare("session.slave_local_login_with_password", *login),
        )
        stage.play("slave call with master session", lambda: slave.raw("VM.get_all", client.session))


def _migrations(stage: Stage, local_vdi: str, shared_vdi: str) -> None:
    client = stage.master
    here, there = stage.pool.hosts
    vm = stage.vm()
    drive = stage.vbd(vm, "3")
    stage.call("start_on A", "VM.start_on", vm, here.reference, False, False)  # noqa: FBT003

    def resident() -> object:
        return client("host.get_name_label", client("VM.get_resident_on", vm))

    def migrate(host: str) -> object:
        return client("VM.pool_migrate", vm, host, {"live": "true"})

    def migrate_and_back() -> object:
        answer = migrate(there.reference)
        migrate(here.reference)  # the recorded migrations failed: the VM stayed
        return answer

    stage.play("resident_on", resident)
    stage.call("insert local-A VDI", "VBD.insert", drive, local_vdi)
    stage.call("assert_can_boot_here B", "VM.assert_can_boot_here", vm, there.reference)
    stage.play(
        "get_possible_hosts",
        lambda: [client("host.get_name_label", host) for host in client("VM.get_possible_hosts", vm)],
    )
    stage.play("pool_migrate to B with local ISO inserted", lambda: migrate(there.reference))
    stage.call("eject", "VBD.eject", drive)
    stage.call("insert shared", "VBD.insert", drive, shared_vdi)
    stage.call("assert_can_boot_here B", "VM.assert_can_boot_here", vm, there.reference)
    stage.play("pool_migrate to B with shared ISO", migrate_and_back)
    stage.play("resident_on", resident)
    stage.call("eject", "VBD.eject", drive)
    stage.play("pool_migrate empty CD", migrate_and_back)
    stage.play("resident_on", resident)
    stage.play("pool_migrate to bad host", lambda: migrate("OpaqueRef:bad"))
    stage.call("host.disable B", "host.disable", there.reference)
    stage.play("pool_migrate to disabled", lambda: migrate(there.reference))


def _transfers(stage: Stage, local_vdi: str) -> None:
    client = stage.master
    there = stage.pool.hosts[1]
    with stage.client(there) as slave:
        stage.play("PUT to slave for VDI on A-only SR", lambda: slave.put(LONG, vdi=local_vdi))

    def put() -> tuple[object, ...]:
        status, _, headers, _ = client.put(bytes(1000), vdi=local_vdi)
        return status, headers

    stage.play("PUT to master", put)
    sr = stage.text("SR local on B", lambda: stage.iso_sr(LOCAL, host=there.reference))
    vdi = stage.text("VDI on B", lambda: stage.vdi(sr, "b.iso"))
    stage.play("PUT to master for VDI on B-only SR (302?)", lambda: client.put(LONG, vdi=vdi))


def _pbds(client: Client, sr: str) -> list[tuple[object, object]]:
    found = []
    for pbd in client("SR.get_PBDs", sr):
        row = client("PBD.get_record", pbd)
        found.append((client("host.get_name_label", row["host"]), row["currently_attached"]))
    return sorted(found, reverse=True)


def _plug(client: Client, sr: str, config: dict[str, str], host: XapiHost) -> list[tuple[object, object]]:
    if not any(client("PBD.get_host", pbd) == host.reference for pbd in client("SR.get_PBDs", sr)):
        record = {"host": host.reference, "SR": sr, "device_config": config, "other_config": {}}
        client("PBD.plug", client("PBD.create", record))
    return _pbds(client, sr)
