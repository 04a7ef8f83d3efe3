import signal
from collections.abc import Callable
from pathlib import Path

from rigs.cloud import VmScript
from tests.integration.cli.place import Place
from tests.support import wait_until
from workers.cli.errors import ExitCode

QUEUE = "configdrive.simulated"


def lose_wakeups(place: Place) -> int:
    """Take all wake-ups off the queue, as a dying worker does; returns how many there were."""
    with place.fleet.redis.client() as client:
        key = f"{place.fleet.settings.key_prefix}{QUEUE}"
        waiting = int(client.llen(key))
        client.delete(key)
    return waiting


def test_a_lost_wake_up_is_sent_again_at_once_and_looking_sends_nothing(
    quiet_place: Callable[..., Place], vm: VmScript
) -> None:
    place = quiet_place(resend_seconds=2.0)
    event = vm.event("deploy")
    place.store(event)
    assert place.json("wake") == {"wakeups": [], "hosts": []}, "it waits for a worker"
    assert place.json("wake", "--dry-run") == {"overdue": []}
    assert lose_wakeups(place) == 1
    (looked,) = place.json("wake", "--dry-run")["overdue"]
    shown = place.run("wake", "--dry-run").stdout
    assert (looked["vm_uuid"], looked["queue"]) == (vm.uuid, QUEUE)
    assert f"due   {vm.uuid} on {QUEUE}, its wake-up was lost" in shown
    assert shown.endswith("1 VMs are due; nothing was sent\n")
    assert lose_wakeups(place) == 0

    named = {"vm_uuid": vm.uuid, "event_id": event["id"], "source": event["source"], "type": "deploy", "queue": QUEUE}
    assert place.json("wake")["wakeups"] == [named | {"attempt": 1}]
    assert lose_wakeups(place) == 1
    assert f"sent  deploy #1 of VM {vm.uuid} on {QUEUE}, attempt 1\n1 wake-ups sent\n" in place.run("wake").stdout
    with place.with_worker():
        assert place.fleet.publisher.wait(event, 600) is not None


def test_a_sweeper_of_its_own_is_alive_though_redis_fails_it_and_goes_on_until_it_is_asked_to_end(
    quiet_place: Callable[..., Place], vm: VmScript, tmp_path: Path
) -> None:
    place = quiet_place(resend_seconds=0.2, health_file=tmp_path / "alive")
    queues = f"{place.fleet.settings.key_prefix}queues"
    with place.fleet.redis.client() as client:
        client.set(queues, "what no pass can read")
        with place.running("wake", "--every", "0.1") as process:
            wait_until((tmp_path / "alive").exists, "a sign of life", timeout=20)
            client.delete(queues)
            place.store(vm.event("deploy"))
            lose_wakeups(place)
            wait_until(lambda: lose_wakeups(place) >= 1, "the process to send the wake-up again", timeout=20)
            process.send_signal(signal.SIGTERM)
            _out, errors = process.communicate(timeout=300)

    assert process.returncode == ExitCode.DONE
    assert "the pass failed: ResponseError" in errors
    assert f"sent deploy #1 of VM {vm.uuid}" in errors
    assert "Traceback" not in errors
