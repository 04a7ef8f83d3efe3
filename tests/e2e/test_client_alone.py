"""The client in an orchestrator of its own: beside modules that are called as ours are, and without Celery."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from rigs.fleet import keys_in
from tests.e2e.site import Site, new_vm
from workers.config.keys import public_text

if TYPE_CHECKING:
    from pathlib import Path

DECOYS = ("tasks", "workers", "settings", "celeryconfig", "publisher", "client", "redis_url")

ORCHESTRATOR = """
import json, sys
import tasks, workers, settings, celeryconfig
from configdrive.client import connect

event = json.load(sys.stdin)
with connect(redis_url=sys.argv[1], public_key=sys.argv[2], key_prefix=sys.argv[3]) as publisher:
    receipt = publisher.publish(event)
    outcome = publisher.wait(receipt, 300)
    (last,) = [found for _, found in publisher.outcomes("0", timeout=0.2) if found.key == receipt.key]
print(json.dumps({
    "accepted": receipt.accepted,
    "status": outcome.status,
    "followed": last == outcome,
    "decoys": [module.DECOY for module in (tasks, workers, settings, celeryconfig)],
    "modules": {name: getattr(module, "__file__", None) for name, module in sys.modules.items()},
}))
"""


@pytest.fixture
def orchestrator(tmp_path: Path) -> Path:
    """A folder with an orchestrator's program, and modules of its own."""
    for name in DECOYS:
        (tmp_path / f"{name}.py").write_text("DECOY = True\n")
    program = tmp_path / "orchestrator.py"
    program.write_text(ORCHESTRATOR)
    return program


def test_it_publishes_beside_modules_of_the_same_names_and_gets_the_outcome(site: Site, orchestrator: Path) -> None:
    vm = new_vm()
    key = public_text(keys_in(site.settings.keys_file)[-1])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CONFIGDRIVE_")}
    done = subprocess.run(
        [sys.executable, str(orchestrator), site.redis.url, key, site.settings.key_prefix],
        input=json.dumps(vm.event("start", guest={"password": "only-sealed", "user_data": {"text": "#!/bin/sh\n"}})),
        env=environment,
        cwd=orchestrator.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert (said["accepted"], said["status"], said["followed"]) == (True, "applied", True)
    assert said["decoys"] == [True] * 4
    modules: dict[str, str | None] = said["modules"]
    for name, file in modules.items():
        top = name.partition(".")[0]
        assert top not in {"celery", "kombu", "billiard", "amqp", "vine", "click"}, name
        if top in {"tasks", "workers"}:
            assert file == str(orchestrator.parent / f"{name}.py"), f"{name} is ours"
    site.require(vm, 1)
