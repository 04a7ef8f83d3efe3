"""`configdrive worker`: the only way a worker is started."""

from __future__ import annotations

import logging
import os
import warnings
from typing import TYPE_CHECKING

import click

from workers.cli.context import load_settings
from workers.cli.errors import ExitCode, problem_of
from workers.cli.options import metrics_port_option
from workers.cli.process import begin_logging, collect_as_usual, share_with_children, with_metrics_port

if TYPE_CHECKING:
    from celery import Celery

    from configdrive.model import HypervisorName
    from workers.config.settings import Settings

_log = logging.getLogger("configdrive.worker")


@click.command(short_help="Work on the events of one hypervisor.")
@click.option("--hypervisor", required=True, metavar="NAME", help="Whose events: kvm, simulated, ...")
@click.option("--zone", "zones", multiple=True, metavar="ZONE", help="Take from this zone's queue only (repeatable).")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Events worked on at the same time; the setting 'concurrency' (4) otherwise.",
)
@click.option(
    "--pool",
    type=click.Choice(["prefork", "threads", "solo"]),
    help="How: child processes (whose time limits are enforced), threads, or one after the other.",
)
@click.option("--name", metavar="NAME", help="The worker's name in Flower; <hypervisor>-<process id> otherwise.")
@metrics_port_option
def worker(  # noqa: PLR0913, PLR0917 - one for each option
    hypervisor: str,
    zones: tuple[str, ...],
    concurrency: int | None,
    pool: str | None,
    name: str | None,
    metrics_port: int | None,
) -> ExitCode:
    """Work on the events of one hypervisor until asked to stop.

    Run as many as you like, on as many machines: a VM is worked on by one of them at a time. TERM or Ctrl-C ends the
    worker when its events in work are done; what it had not begun is done by another. Every worker also sweeps: it
    sends again what was lost, and what is due for another try.

    \b
    Examples:
      configdrive worker --hypervisor kvm
      configdrive worker --hypervisor kvm --zone berlin-1 --concurrency 8
      CONFIGDRIVE_LOG_FORMAT=json configdrive worker --hypervisor simulated --pool solo

    Needs Redis (it waits for it), the inventory with a table of that hypervisor, and the key file. Under systemd or
    Kubernetes: exit code 78 is a mistake in the configuration, which no restart mends.
    """
    from configdrive.model import HypervisorName

    settings = with_metrics_port(load_settings(says_ignored=True), metrics_port)
    begin_logging(settings)
    served = _queues(settings, hypervisor, zones)
    from workers.worker import make_worker_app

    app = make_worker_app(settings, HypervisorName(hypervisor), served)
    collect_as_usual()
    _greet_redis(settings, HypervisorName(hypervisor))
    return _work(app, served, pool or settings.pool, concurrency or settings.concurrency, _node(name, hypervisor))


def _queues(settings: Settings, hypervisor: HypervisorName | str, zones: tuple[str, ...]) -> list[str]:
    from configdrive.client.postings import queue_name
    from configdrive.errors import PermanentCode, PermanentError
    from workers.config.hypervisors import queues

    for zone in zones:
        if zone not in settings.zones:
            detail = f"zone {zone!r} is not in the setting 'zones', so no event is ever sent to its queue"
            remedy = (
                f"known are: {', '.join(settings.zones) or 'none'}; set CONFIGDRIVE_ZONES for publishers and workers"
            )
            raise PermanentError(PermanentCode.MISCONFIGURED, detail, remedy)
    return [queue_name(hypervisor, zone) for zone in zones] or queues(settings, hypervisor)


def _node(name: str | None, hypervisor: str) -> str:
    """Two workers of one name on one host would be one row in Flower, and take each other's remote control messages."""
    return name or f"{hypervisor}-{os.getpid()}"


def _greet_redis(settings: Settings, hypervisor: HypervisorName) -> None:
    """Say soon when Redis is away; Celery then tries until it is there. What will not pass is raised.

    That is a refused login, a setting `fleet_id` that is not what Redis has, and a key file that has none of the
    fleet's keys: every event would be parked.
    """
    import redis

    from configdrive.client.connection import connect_redis
    from workers.worker import requirements

    client = connect_redis(settings, patient=False)
    try:
        client.ping()
        requirements(settings, client, hypervisor)()  # made now: a full Redis would refuse it later
    except redis.AuthenticationError:
        raise
    except redis.RedisError as error:
        problem = problem_of(error)
        _log.error("%s; trying until it can. Remedy: %s", problem.message, problem.remedy)
    finally:
        client.close()


def _end_soon() -> None:
    """Let a child of the pool wait 2 s at its end for the parent to have read its last result, and not 30.

    Under load the parent sometimes never does (billiard 4.2, seen in every second restart). The result is only a line
    in Flower: what became of the event is in its mailbox before the child's task ends.
    """
    from billiard import pool

    pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = 20  # times 0.1 s


def _work(app: Celery, served: list[str], pool: str, concurrency: int, name: str) -> ExitCode:
    from celery import signals
    from celery.exceptions import SecurityWarning
    from celery.utils.nodenames import host_format
    from celery.worker import state

    from workers.queueing import thread_pool

    _end_soon()
    # It warns root of pickle. Only JSON is accepted here, and libvirt's system socket often asks for root.
    warnings.simplefilter("ignore", SecurityWarning)
    # With a receiver Celery leaves all logging alone.
    signals.setup_logging.connect(_logging_is_set_up, weak=False)
    node = host_format(f"{name}@%h")
    # A line for each event that comes: the attempt has one, which says more.
    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)
    _log.info(
        "%s takes from %s; pool %s", node, ", ".join(served), pool if pool == "solo" else f"{pool} of {concurrency}"
    )
    # Not app.worker_main(): Celery's own command line reads the environment (APP, BROKER_URL, CONFIG_MODULE, ...).
    controller = app.Worker(
        hostname=node,
        queues=served,
        pool_cls=thread_pool.NAME if pool == "threads" else pool,
        concurrency=concurrency,
        loglevel=logging.INFO,
        task_events=True,
        without_gossip=True,
        without_mingle=True,
        quiet=True,
    )
    share_with_children()
    controller.start()
    if controller.exitcode == ExitCode.MISCONFIGURED:
        return ExitCode.MISCONFIGURED
    asked: tuple[object, ...] = (state.should_stop, state.should_terminate)  # Celery's stubs know them as None only
    if any(asked):  # what its handlers of Ctrl-C and QUIT leave behind; that of TERM leaves 0
        return ExitCode.INTERRUPTED
    return ExitCode.FAILED if controller.exitcode else ExitCode.DONE


def _logging_is_set_up(**_named: object) -> None:
    """See `_work`."""
