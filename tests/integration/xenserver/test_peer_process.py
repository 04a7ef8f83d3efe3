"""The rig as a process of its own, and many clients of one pool at once."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rigs.process import Daemon
from rigs.xapi import XapiPool, XapiSite
from tests.integration.xenserver.client import Client
from tests.integration.xenserver.stage import Stage
from tests.support import require_rig

VMS = 30
WORKERS = 8
SIZE = 1 << 18


def test_it_runs_as_a_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rigs.xapi", str(tmp_path / "pool"), "--vms", "2"]
    daemon = Daemon(command, tmp_path / "log", {"PYTHONPATH": str(Path(__file__).parents[3])})
    with require_rig():
        daemon.start()
    line = daemon.wait_ready(lambda: (tmp_path / "log").read_text().partition("\n")[0], timeout=30)
    state = json.loads(line)
    try:
        with Client(state["url"], Path(state["ca"])) as client:
            client.login(state["user"], state["password"])
            for name, uuid in state["vms"].items():
                assert client("VM.get_by_name_label", name) == [client("VM.get_by_uuid", uuid)]
    finally:
        daemon.stop()
    assert daemon.exit_code == 0


def test_many_clients_start_many_vms(tmp_path: Path) -> None:
    with XapiPool(tmp_path / "pool") as pool, Stage.open(pool) as stage:
        site = XapiSite(pool)
        root = site.add_local_sr("xapi-A", "root")
        vms = [site.define_vm(f"vm-{number}", root) for number in range(VMS)]
        drives = {vm: site.add_cd(vm) for vm in vms}
        stage.folder(pool.hosts[0], "/srv/isos")
        sr = stage.iso_sr({"location": "/srv/isos", "legacy_mode": "true"})

        def start(vm: str) -> None:
            with stage.client(pool.hosts[0]) as client:
                image = Stage(pool, client).vdi(sr, f"{vm}.iso", size=SIZE)
                task = client("task.create", "import", "")
                client.put(content(vm), vdi=image, task=task)
                assert client.state(task)[1] == "success"
                client("VBD.insert", drives[vm], image)
                client("VM.start", client("VM.get_by_uuid", vm), False, False)  # noqa: FBT003

        with ThreadPoolExecutor(WORKERS) as threads:
            list(threads.map(start, vms))
        assert len(stage.master("SR.get_VDIs", sr)) == VMS
        for vm in vms:
            assert site.power(vm) == "Running"
            assert site.drives(vm)[1].content == content(vm)


def content(vm: str) -> bytes:
    return vm.encode().ljust(SIZE, b".")
