"""Flower's pages in a real browser: the workers of each hypervisor, and of each event what became of it."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rigs.browser import Browser
from rigs.flower import Flower
from rigs.worker import CONFIGDRIVE
from tests.e2e.flower_fleet import PASSWORD, Watched, watched
from tests.support import require, require_rig, wait_until
from workers.cli.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator


TABS = ("pool", "broker", "queues", "tasks", "limits", "config", "system", "other")
CONFIGURATION = Path(__file__).resolve().parents[2] / "deploy" / "flower" / "flowerconfig.py"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    require(importlib.util.find_spec("libvirt"), "libvirt-python is not installed: no worker for KVM")
    with require_rig(), watched(tmp_path_factory.mktemp("watched")) as seen:
        yield seen


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    with require_rig():
        return Browser(tmp_path_factory.mktemp("browser"))


def test_the_first_page_lists_the_workers_of_each_hypervisor(seen: Watched, browser: Browser) -> None:
    shown = ""

    def all_there() -> bool:
        nonlocal shown
        shown = browser.text(seen.flower.url)
        return len(re.findall(r"(?:kvm|simulated)-\d@\S+ Online", shown)) == 3

    wait_until(all_there, "all workers to be listed", timeout=30)
    names = re.findall(r"((?:kvm|simulated)-\d)@\S+ Online", shown)
    assert sorted(names) == ["kvm-1", "simulated-1", "simulated-2"]


def test_the_list_of_tasks_says_of_each_event_what_it_was_and_what_became_of_it(
    seen: Watched, browser: Browser
) -> None:
    shown = browser.text(seen.flower.url + "/tasks")
    rows = {
        name: re.search(rf"configdrive\.deploy deploy i-2-\w+-vm {vm} ([A-Z]+) \S+@\S+ (.*?) (\d) ", shown)
        for name, vm in seen.vms.items()
    }
    said = {name: row.groups() for name, row in rows.items() if row is not None}
    password = "password=on_drive"
    assert said == {
        "applied": ("SUCCESS", f"applied (attach=inserted, device=hdd, {password})", "0"),
        "retried": ("SUCCESS", f"applied (attach=inserted, device=hdd, {password})", "1"),
        "parked": ("FAILURE", "parked: access_denied: injected before upload", "0"),
    }
    assert re.search(r"\d\d ms", shown), "run times read as durations"
    assert PASSWORD not in shown
    assert "the-users-own-secret" not in shown


def test_the_page_of_an_event_shows_its_outcome_and_no_secret(seen: Watched, browser: Browser) -> None:
    shown = browser.text(f"{seen.flower.url}/task/{seen.events['parked']}")
    assert re.search(rf"deploy i-2-\w+-vm {seen.vms['parked']}", shown)
    assert f"configdrive show {seen.vms['parked']}" in shown
    assert "Status FAILURE" in shown
    assert "Result parked: access_denied: injected before upload" in shown
    assert "Traceback" not in shown, "of an end that was decided on"
    assert PASSWORD not in shown


def test_the_page_of_an_event_that_was_tried_again_says_so(seen: Watched, browser: Browser) -> None:
    shown = browser.text(f"{seen.flower.url}/task/{seen.events['retried']}")
    assert "Status SUCCESS" in shown
    assert "Retries 1" in shown
    assert "Runtime" in shown


def test_nothing_on_any_page_is_cut_or_goes_sideways(seen: Watched, browser: Browser) -> None:
    """On a phone as on a desk; of a worker each of its tabs."""
    worker = f"{seen.flower.url}/worker/{worker_of(seen)}"
    pages = [f"{seen.flower.url}/{page}" for page in ("workers", "tasks", "broker")]
    pages += [f"{seen.flower.url}/task/{event}" for event in seen.events.values()]
    pages += [f"{worker}?{tab}#tab-{tab}" for tab in TABS]
    assert browser.misfits(pages, (390, 1400, 1920), within="main *, nav *", settled=1500) == []


def test_on_a_narrow_window_each_cell_says_which_column_it_is_of(seen: Watched, browser: Browser) -> None:
    shown = browser.source(f"{seen.flower.url}/tasks")
    cells = re.findall(r'<td[^>]* data-column="(\w+)"', shown)
    assert cells[:9] == ["Name", "args", "State", "Worker", "Result", "Retries", "Runtime", "Received", "UUID"]


def test_nothing_can_be_stopped_from_the_pages(seen: Watched, browser: Browser) -> None:
    shown = browser.source(f"{seen.flower.url}/worker/{worker_of(seen)}")
    assert "configdrive.kvm" in shown
    assert "btn-danger" not in shown
    assert "worker-shutdown" not in shown


def test_flower_asks_nothing_of_workers_that_they_do_not_take(seen: Watched) -> None:
    """Each of such questions, every few seconds, would be a traceback in the log of each worker."""
    logs = [path.read_text("utf-8") for path in seen.site.directory.glob("*-[0-9].log")]
    assert len(logs) == 3
    assert [log for log in logs if "pidbox" in log or "Traceback" in log] == []


def test_the_shipped_configuration_file_shows_the_same_columns_and_is_no_login(seen: Watched) -> None:
    environment = {**seen.site.environment, "FLOWER_CONF": str(CONFIGURATION)}
    with Flower(seen.site.directory, environment) as other:
        shown = other.get("/tasks")
    columns = re.findall(rb'<th data-column="(\w+)"', shown)
    assert columns == re.findall(rb'<th data-column="(\w+)"', seen.flower.get("/tasks"))
    assert columns[:4] == [b"name", b"args", b"state", b"worker"]

    argv = [CONFIGDRIVE, "flower", "--address=0.0.0.0", f"--conf={CONFIGURATION}"]
    done = subprocess.run(
        argv, env={**os.environ, **seen.site.environment}, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == ExitCode.MISCONFIGURED
    assert "Flower would be open to everyone" in done.stderr


def test_a_configuration_file_with_a_login_is_one(seen: Watched, tmp_path: Path) -> None:
    file = tmp_path / "flowerconfig.py"
    file.write_text(CONFIGURATION.read_text("utf-8") + 'basic_auth = ["admin:Hunter2"]\nport = 1\n')
    argv = [CONFIGDRIVE, "flower", "--address=0.0.0.0", "--port=1", f"--conf={file}", "--certfile=nowhere"]
    done = subprocess.run(
        argv, env={**os.environ, **seen.site.environment}, capture_output=True, text=True, check=False, timeout=300
    )
    assert "open to everyone" not in done.stderr
    assert "'keyfile' are required" in done.stdout + done.stderr, "it went on to Flower itself"


def worker_of(seen: Watched) -> str:
    """Return the full name of the worker for KVM."""
    match = re.search(r"kvm-1@[\w.-]+", seen.flower.get("/workers").decode())
    assert match is not None
    return match[0]
