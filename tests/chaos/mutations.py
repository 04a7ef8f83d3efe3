"""Mutations: small storms on a product that was broken on purpose; each must be found (`make chaos-proof`).

The workers import `sitecustomize` before anything else, and this one breaks the product in their memory.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from rigs.simulated import PLUGIN
from rigs.simulated.faults import Freeze, Hang, Point
from tests.chaos.plan import Chapter, Life, Plan, Step
from tests.chaos.plan_from_seed import make_plan
from tests.chaos.storm import Storm
from tests.chaos.verdict import verdict
from workers.hypervisors.simulated.inventory import Verb

SEED = 7


@dataclass(frozen=True)
class Mutation:
    """What is broken, and the checks of which at least one must find it; none: the product saves itself.

    `frozen`: a worker stands still before a step of one start, longer than its lease.
    """

    code: str
    checks: frozenset[str]
    frozen: bool = False


NO_RENEWALS = """
from tasks import lease
lease.LeaseKeeper.look = lambda self: None
"""

MUTATIONS = {
    "leases that are neither kept nor looked at": Mutation(
        NO_RENEWALS + "lease.KeptLease.check = lambda self: None\n", frozenset({"overlap"})
    ),
    "leases that are not kept, but looked at": Mutation(NO_RENEWALS, frozenset()),
    "a drive that is not emptied": Mutation(
        """
from workers.hypervisors.simulated import driver, images
driver.eject = lambda record, media, added, *, force: record
images.Images._require_unused = lambda self, *_arguments: None
""",
        frozenset({"drive", "empty drive"}),
    ),
    "images that are not deleted": Mutation(
        """
from workers.hypervisors.simulated import image_folder
image_folder.Storage.remove = lambda self, name: None
""",
        frozenset({"images"}),
    ),
    "another VM's image in the drive": Mutation(
        """
from dataclasses import replace
from workers.hypervisors.simulated import driver
insert, last = driver.insert, []
def swapped(record, medium, presentation, *, force):
    last.append(medium)
    return insert(record, last[-2] if len(last) > 1 else medium, presentation, force=force)
driver.insert = swapped
""",
        frozenset({"own drive"}),
    ),
    "another VM's bytes on the image": Mutation(
        """
from configdrive.contents import render as module
render, last = module.render, []
def stale(vm, data, *more):
    last.append(data)
    return render(vm, last[-2] if len(last) > 1 else data, *more)
module.render = stale
""",
        frozenset({"content"}),
    ),
    "a password in the log": Mutation(
        """
import logging
from configdrive.contents import render as module
render = module.render
def talkative(vm, data, password, *more):
    if password is not None:
        logging.getLogger("mutation").warning("its password is %s", password.get_secret_value())
    return render(vm, data, password, *more)
module.render = talkative
""",
        frozenset({"secret"}),
    ),
    "a worker that stands still": Mutation("", frozenset(), frozen=True),
    "VMs that nobody verifies": Mutation(
        """
from tasks import leftovers
leftovers.Leftovers.verify_all = lambda self, queue: "nothing"
""",
        frozenset({"images", "orphan", "at rest"}),
        frozen=True,
    ),
    "scripts that fence nobody off": Mutation(
        """
import re
from workers.store import scripts
source = scripts.source
def unfenced(name, *package):
    text = source(name, *package)
    return re.sub(r"then return (0|.*'fenced') end", "then end", text) if name in {"renew", "done"} else text
for name in ("renew", "done"):
    assert unfenced(name, scripts.PACKAGE) != source(name, scripts.PACKAGE)
scripts.source = unfenced
""",
        frozenset({"one end", "overlap", "remembered", "at rest"}),
        frozen=True,
    ),
    "the newest event first": Mutation(
        """
from workers.store import scripts
source = scripts.source
def backwards(name, *package):
    return source(name, *package).replace("'LPOP', KEYS[2]", "'RPOP', KEYS[2]")
assert backwards("done", scripts.PACKAGE) != source("done", scripts.PACKAGE)
scripts.source = backwards
""",
        frozenset({"one end", "ends", "order"}),
    ),
}


def calm_plan(*, frozen: bool) -> Plan:
    """Return a plan in which nothing goes wrong, but for a start that takes longer than a lease, in short steps.

    `frozen`: the worker that makes it stands still, instead, until another one has taken the VM over and stopped it.
    """
    plan = make_plan(SEED, 1)
    life = next(life for life in plan.lives if life.defined and life.wanted)
    slow = tuple(
        Hang(verb=verb, when=when, vm=life.uuid, seconds=0.9)
        for verb in (Verb.UPLOAD, Verb.ATTACH)
        for when in (Point.BEFORE, Point.AFTER)
    )
    still = (Freeze(verb=Verb.UPLOAD, vm=life.uuid, seconds=6.0),)
    begin = Chapter((Step("start", 1, {"host": life.host}, password=None, faults=still if frozen else slow),))
    chapters = (begin, Chapter((Step("stop", 2),))) if frozen else (begin,)
    lives = tuple(replace(other, chapters=chapters if other is life else _calm(other)) for other in plan.lives)
    return replace(plan, pools=("prefork",) * 3, latency_ms=0, lives=lives, troubles=())


def _calm(life: Life) -> tuple[Chapter, ...]:
    """Without a fault: a process that stood still elsewhere would excuse what is to be found."""
    return tuple(replace(one, steps=tuple(replace(step, faults=()) for step in one.steps)) for one in life.chapters)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", MUTATIONS)
def test_break_is_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rigs.process.patience", 1.0)  # what is broken is waited for in vain
    broken = MUTATIONS[name]
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sitecustomize.py").write_text(broken.code)
    path = os.pathsep.join((str(tmp_path / "broken"), PLUGIN))
    storm = Storm(
        calm_plan(frozen=broken.frozen),
        tmp_path / "storm",
        environment={"PYTHONPATH": path},
        patience=15 if broken.checks else 60,  # a product that saves itself has all the time of a busy machine
    )
    left = storm.run()
    assert "Error in sitecustomize" not in left.fleet.log, "the product has changed: break it otherwise"
    found = {finding.check for finding in verdict(left)}
    assert found & broken.checks if broken.checks else not found, found
