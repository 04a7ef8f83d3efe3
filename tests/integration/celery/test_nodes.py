"""Our worker as Celery sees it: through remote control, killed, restarted, and with its broker restarted under it."""

from typing import Any

from pytest_celery import CeleryTestSetup

from configdrive.contract.outcome import Status
from rigs.process import wait_until
from rigs.simulated.faults import Hang
from tasks.wakeup import LEFTOVERS_NAME, TASK_NAMES
from tests.e2e.site import Site, new_vm
from workers.hypervisors.simulated.inventory import Verb

# What celery 5.7 must be told for a wake-up to be disposable and a worker to survive (docs/adr/0003).
CONF = {
    "task_acks_late": False,
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,
    "task_ignore_result": True,
    "result_backend": None,
    "task_create_missing_queues": False,
    "accept_content": ["json"],
    "task_serializer": "json",
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "task_soft_time_limit": 300.0,
    "task_time_limit": 335.0,
}


def test_a_worker_is_set_as_measured_takes_its_event_up_again_after_a_kill_and_outlives_its_broker(
    celery_setup: CeleryTestSetup, site: Site
) -> None:
    assert celery_setup.ready(control=True)
    node = celery_setup.worker.hostname()
    inspect: Any = celery_setup.app.control.inspect([node], timeout=600)
    assert inspect.registered()[node] == sorted({LEFTOVERS_NAME, *TASK_NAMES})
    assert [queue["name"] for queue in inspect.active_queues()[node]] == [celery_setup.worker.worker_queue]
    conf = inspect.conf(with_defaults=True)[node]
    assert {name: conf[name] for name in CONF} == CONF
    options = conf["broker_transport_options"]
    assert (options["socket_timeout"], options["health_check_interval"]) == (10, 5)
    assert inspect.stats()[node]["prefetch_count"] <= 2  # the pool's places, no more

    vm, other = new_vm(), new_vm()
    site.inject(Hang(verb=Verb.ATTACH, vm=vm.uuid, seconds=20))
    ids = site.publish(vm.event("deploy", start=True), vm.event("update", guest={"password": "x"}))
    wait_until(lambda: site.cloud.images(vm.uuid), "the image", timeout=10)
    celery_setup.worker.kill()
    assert celery_setup.worker.container.status == "exited"
    site.workers[0].sweep_up()  # the children of a real machine's dead worker would go on; see tests/e2e
    ids += site.publish(other.event("start"))

    celery_setup.worker.restart()
    celery_setup.worker.wait_for_log(f"{node} ready.")
    found = site.outcomes(ids)
    assert [outcomes[-1].status for outcomes in found.values()] == [Status.APPLIED] * 3
    assert [outcomes[-1].attempts for outcomes in found.values()] == [2, 1, 1]
    site.require(vm, 1)
    site.require(other, 1)
    assert site.require_no_overlap([vm, other]) > 5

    pid = site.workers[0].pid
    celery_setup.broker.restart()
    assert site.outcome(vm.event("stop")).status is Status.APPLIED
    assert site.workers[0].pid == pid
    assert "Traceback" not in celery_setup.worker.logs()
