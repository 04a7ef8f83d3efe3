"""`configdrive doctor`: is everything there that the fleet needs, and what to do when it is not."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import click

from configdrive.errors import FleetError
from workers.cli.context import load_settings
from workers.cli.errors import ExitCode, lacks_rights, problem_of, redis_address
from workers.cli.options import json_option
from workers.cli.output import coloured, print_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import redis

    from configdrive.model import HostName, HypervisorName
    from configdrive.ports import HypervisorDriver
    from workers.config.inventory import Table
    from workers.config.settings import Settings
    from workers.store.inspection import Inspection

_OLDEST = (6, 2)
"""ZRANGE … BYSCORE, which finds what is due, is of Redis 6.2."""

_PROBE = "redis.call('SET', KEYS[1], '1', 'PX', 1000) return redis.call('TIME')[1]"
_ANSWER_SECONDS = 1.0


class Level(StrEnum):
    """How bad a finding is: well, not looked at, works but should be mended, does not work."""

    OK = "ok"
    SKIP = "skip"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    subject: str
    detail: str
    remedy: str = ""


def _ok(subject: str, detail: str) -> Finding:
    return Finding(Level.OK, subject, detail)


def _warn(subject: str, detail: str, remedy: str) -> Finding:
    return Finding(Level.WARN, subject, detail, remedy)


def _fail(subject: str, detail: str, remedy: str) -> Finding:
    return Finding(Level.FAIL, subject, detail, remedy)


@click.command(short_help="Check settings, Redis, keys and every host.")
@click.option("--fix", is_flag=True, help="Make what is missing on hosts: folders of images, and XenServer's ISO SRs.")
@click.option("--cloudstack", "with_cloudstack", is_flag=True, help="Look at what the adapter and the gate need, too.")
@json_option
def doctor(*, fix: bool, with_cloudstack: bool, as_json: bool) -> ExitCode:
    """Check settings, Redis, the keys, the inventory and every host in it, and name the remedy for what is wrong.

    Run it on the machine, and as the user, that the worker or publisher will run as. Without `--fix` nothing is
    changed. OK is well, SKIP is what the login on Redis may not see, WARN works but should be mended, FAIL does not
    work; with one FAIL the exit code is 1.

    \b
    Examples:
      configdrive doctor
      configdrive doctor --cloudstack
      configdrive doctor --json | jq '.findings[] | select(.level != "ok")'
    """
    found = []
    for finding in _examine(fix=fix, with_cloudstack=with_cloudstack):
        found.append(finding)
        if not as_json:  # at once: a host that does not answer takes its time
            click.echo(f"{coloured(finding.level.value.upper(), 4)}  {finding.subject}: {finding.detail}")
            if finding.remedy and finding.level is not Level.OK:
                click.echo(f"      remedy: {finding.remedy}")
    failed = any(finding.level is Level.FAIL for finding in found)
    if as_json:
        print_json({"well": not failed, "findings": [asdict(finding) for finding in found]})
    return ExitCode.FAILED if failed else ExitCode.DONE


def _examine(*, fix: bool, with_cloudstack: bool) -> Iterator[Finding]:
    """Look at everything, cheapest first."""
    try:
        settings = load_settings(says_ignored=True)
    except FleetError as error:
        yield _fail("settings", error.detail, error.remedy)
        return
    yield from _settings(settings)
    yield from _keys(settings)
    works = settings.public_key is None
    for finding in _redis(settings):
        works = works and finding.level is not Level.SKIP
        yield finding
    yield from _inventory(settings, fix=fix, works=works)
    if with_cloudstack:
        yield from _cloudstack(settings)


def _cloudstack(settings: Settings) -> Iterator[Finding]:
    from workers.cloudstack.doctor import diagnose

    for check in diagnose(settings.cloudstack):
        yield Finding(Level.OK if check.ok else Level.FAIL, check.subject, check.detail, check.remedy)


def _settings(settings: Settings) -> Iterator[Finding]:
    from configdrive.model import DEFAULT_LABEL
    from workers.config.unknown_variables import ignored_variables

    changed = sorted(name for name in settings.model_fields_set if name != "redis_url")
    source = os.environ.get("CONFIGDRIVE_SETTINGS")
    whence = f"from {source} and the environment" if source else "from the environment"
    detail = f"{', '.join(changed)} {whence}" if changed else "all at their defaults but, perhaps, redis_url"
    yield _ok("settings", detail)
    for one in ignored_variables(os.environ):
        yield _warn("settings", one.detail, one.remedy)
    if settings.label == DEFAULT_LABEL:
        note = "guests find it by scripts of their own; cloud-init and cloudbase-init look for 'config-2' only"
        yield _ok("label", f"{settings.label!r}: {note} (CONFIGDRIVE_LABEL=config-2)")


def _keys(settings: Settings) -> Iterator[Finding]:
    from configdrive.client.public_key import read_public
    from workers.config.keys import NO_FILE, read_keys

    try:
        if settings.public_key is not None:
            read_public(settings.public_key)
            yield _ok("keys", "the setting public_key: this process publishes, and opens nothing")
            return
        if not settings.keys_file.exists():
            yield _warn("keys", f"{settings.keys_file} is not there; only a new fleet's first worker makes it", NO_FILE)
            return
        keys = read_keys(settings.keys_file)
    except FleetError as error:
        yield _fail("keys", error.detail, error.remedy)
        return
    yield _ok("keys", f"{settings.keys_file}: {len(keys)}, the newest is {keys[-1].identity} of {keys[-1].created}")


def _inventory(settings: Settings, *, fix: bool, works: bool) -> Iterator[Finding]:
    """Look at the inventory, and at all that is in it; `works`: by its key and its login, a worker could be here."""
    from workers.config.inventory import read_inventory

    if not works and not settings.inventory.exists():
        yield _ok("inventory", "none, which only workers need")
        return
    try:
        tables = read_inventory(settings.inventory)
    except FleetError as error:
        yield _fail("inventory", error.detail, error.remedy or f"correct {settings.inventory}")
        return
    if not tables:
        yield _warn("inventory", f"{settings.inventory} is empty", "add a table such as [kvm.hosts.kvm-01]")
        return
    yield _ok("inventory", f"{settings.inventory}: {', '.join(sorted(tables))}")
    for name in sorted(tables):
        yield from _hypervisor(settings, name, tables, fix=fix)


def _hypervisor(
    settings: Settings, name: HypervisorName, tables: Mapping[HypervisorName, Table], *, fix: bool
) -> Iterator[Finding]:
    from configdrive.client.hypervisors import known_hypervisors
    from workers.driverkit.load import make_driver

    try:
        driver = make_driver(settings, name, tables)
    except FleetError as error:
        yield _fail(name, error.detail, error.remedy or f"correct [{name}] in {settings.inventory}")
        return
    try:
        hosts = sorted(driver.hosts())
        yield _ok(name, f"the driver is there; hosts: {', '.join(hosts) or 'none'}")
        if name not in known_hypervisors(settings):
            remedy = "add it to CONFIGDRIVE_HYPERVISORS, or leave that empty"
            yield _warn(name, "events for it are refused: the setting 'hypervisors' does not name it", remedy)
        for host in hosts:
            yield from _host(driver, host, fix=fix)
        yield from _one_host_twice(driver, hosts)
    finally:
        driver.close()


def _one_host_twice(driver: HypervisorDriver, hosts: Sequence[HostName]) -> Iterator[Finding]:
    """Find entries of the inventory that are one host: what is done by one name would be undone by the other."""
    from configdrive.model import HostName, InstanceName, Vm, VmUuid

    nobody = Vm(VmUuid(str(uuid.UUID(int=0))), InstanceName("doctor"), driver.name, HostName(""))
    names: dict[str, list[HostName]] = {}
    for host in hosts:
        with suppress(Exception):  # a host that cannot be asked was reported already
            names.setdefault(driver.observe(replace(nobody, host=host), names=()).host_id, []).append(host)
    for identity, same in names.items():
        if identity and len(same) > 1:
            yield _fail(
                f"{driver.name} hosts {' and '.join(same)}",
                f"are one host by what it says of itself ({identity})",
                "keep one of them in the inventory; on KVM, boards that share a uuid need `host_uuid` in its table",
            )


def _host(driver: HypervisorDriver, host: HostName, *, fix: bool) -> Iterator[Finding]:
    from configdrive.ports import Fixer

    try:
        made = driver.fix(host) if fix and isinstance(driver, Fixer) else ()
        for check in (*made, *driver.check(host)):
            if check.ok and not check.remedy:
                yield _ok(check.subject, check.detail)
            elif check.ok:
                yield _warn(check.subject, check.detail, check.remedy)
            else:
                remedy = check.remedy or f"look at the host, and at its table [{driver.name}.hosts.{host}]"
                yield _fail(check.subject, check.detail, remedy)
    except Exception as error:  # noqa: BLE001 - one driver's fault must not keep the others from being looked at
        yield _fail(
            f"{driver.name} host {host}", f"the check itself failed: {type(error).__name__}", "please report it"
        )


def _redis(settings: Settings) -> Iterator[Finding]:
    """Look at Redis: is it there, does it keep what it is given, can it run our scripts, does anybody work."""
    import redis

    from configdrive.client.connection import connect_redis
    from workers.store.inspection import Inspection
    from workers.store.mailbox import MailboxOptions

    try:
        client = connect_redis(settings, patient=False)
    except FleetError as error:
        yield _fail("redis", error.detail, error.remedy)
        return
    subject = f"redis {redis_address()}"
    mailbox = Inspection(client, MailboxOptions.of(settings))
    try:
        client.ping()
        looks: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
            ("its version, and what it keeps", lambda: _facts(subject, client)),
            ("whether it runs scripts", lambda: _scripts(subject, client, f"{settings.key_prefix}doctor")),
            ("the fleet's keys", lambda: _fleet_keys(settings, client)),
            ("the fleet's id", lambda: _fleet(settings, client)),
            ("who works and what waits", lambda: _work(settings, mailbox)),
            ("what is parked", lambda: _parked(mailbox)),
        )
        for what, look in looks:
            yield from _as_far_as_allowed(subject, what, look)
    except redis.RedisError as error:
        problem = problem_of(error)
        yield _fail(subject, problem.message, problem.remedy)
    finally:
        client.close()


def _as_far_as_allowed(subject: str, what: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Look at something of Redis, and say when the login may not see it: its role has other things to do."""
    try:
        yield from look()
    except Exception as error:
        if not lacks_rights(error):
            raise
        yield Finding(Level.SKIP, subject, f"this login may not see {what}")


def _scripts(subject: str, client: redis.Redis, key: str) -> Iterator[Finding]:
    client.eval(_PROBE, 1, key)
    yield _ok(subject, "runs scripts that write")


def _fleet_keys(settings: Settings, client: redis.Redis) -> Iterator[Finding]:
    """Hold the keys of this machine against the fleet's."""
    from configdrive.client.fleet_keys import read_key_ids
    from configdrive.client.public_key import identity_of, read_public
    from workers.config.keys import read_keys

    known = read_key_ids(client, settings.key_prefix)
    try:
        if settings.public_key is not None:
            own = [identity_of(read_public(settings.public_key))]
        else:
            own = [key.identity for key in read_keys(settings.keys_file)] if settings.keys_file.exists() else []
    except FleetError:
        return  # said already
    subject, listed = "fleet keys", ", ".join(known)
    if not known:
        yield _ok(subject, "not on Redis so far: the first worker enters those of its file")
    elif not own:
        remedy = "copy a worker's key file to here; to publish only, set CONFIGDRIVE_PUBLIC_KEY"
        yield _fail(subject, f"the fleet has {listed}, and this machine none", remedy)
    elif not set(own) & set(known):
        detail = f"the fleet has {listed}, this machine only {', '.join(own)}: nothing that it seals could be opened"
        remedy = (
            "set CONFIGDRIVE_PUBLIC_KEY to what `configdrive keys public` prints on a worker's machine, or copy that "
            "worker's key file to here"
        )
        yield _fail(subject, detail, remedy)
    elif settings.public_key is None and (missing := set(known) - set(own)):
        detail = f"the fleet has {', '.join(sorted(missing))} too, which this machine's file lacks"
        yield _warn(subject, detail, "copy the newest key file of the workers to here; a key that is lost: retire it")
    else:
        yield _ok(subject, f"{listed}: this machine's fit")


def _fleet(settings: Settings, client: redis.Redis) -> Iterator[Finding]:
    """Say which id images carry; a publisher names none."""
    from workers.store.fleet_id import another_id, read_fleet_id

    if settings.public_key is not None:
        return
    found = read_fleet_id(client, settings.key_prefix)
    if found is None:
        made = "will make one" if settings.fleet_id is None else f"will set it to {settings.fleet_id}, as fleet_id says"
        yield _ok("fleet id", f"not on Redis so far: the first worker {made}")
    elif settings.fleet_id not in {None, found}:
        error = another_id(settings.key_prefix, settings.fleet_id or "", found)
        yield _fail("fleet id", error.detail, error.remedy)
    else:
        yield _ok("fleet id", f"{found}, which every image's name carries: keep it beside the keys")


def _facts(subject: str, client: redis.Redis) -> Iterator[Finding]:
    from configdrive.client.connection import IS_A_CLUSTER, NO_CLUSTER

    info: dict[str, Any] = client.info()
    version = str(info.get("redis_version", "0"))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers >= _OLDEST:
        yield _ok(subject, f"answers, version {version}")
    else:
        yield _fail(subject, f"version {version} is too old", "6.2 or newer is needed")
    if info.get("role", "master") != "master":
        yield _fail(subject, "is a replica: nothing can be written", "name the master in CONFIGDRIVE_REDIS_URL")
    if info.get("cluster_enabled"):
        yield _fail(subject, IS_A_CLUSTER, NO_CLUSTER)
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy == "noeviction":
        yield _ok(subject, "maxmemory-policy noeviction")
    else:
        detail = f"maxmemory-policy {policy}: when memory is short Redis would throw events away"
        yield _fail(subject, detail, "set 'maxmemory-policy noeviction' in redis.conf")
    if info.get("aof_enabled"):
        yield _ok(subject, "appendonly yes")
    else:
        detail = "appendonly no: events that wait are lost when Redis restarts"
        yield _warn(subject, detail, "set 'appendonly yes' in redis.conf")
    if info.get("aof_last_write_status", "ok") != "ok":
        yield _fail(subject, "could not write its append-only file", "see Redis' log: is its disk full?")


def _work(settings: Settings, mailbox: Inspection) -> Iterator[Finding]:
    """Say who works, and whether events wait where nobody does."""
    served = served_queues(settings)
    for node, names in sorted(served.items()):
        yield _ok(f"worker {node}", f"takes from {', '.join(sorted(names))}")
    taken = set().union(*served.values()) if served else set()
    for name, count in mailbox.pending().items():
        if count and name not in taken:
            hypervisor = name.split(".")[1] if name.count(".") else name
            detail = f"{count} VMs have events, and no worker that takes from it has answered"
            yield _warn(f"queue {name}", detail, f"configdrive worker --hypervisor {hypervisor}")


def _parked(mailbox: Inspection) -> Iterator[Finding]:
    parked = len(mailbox.parked(1000))
    if parked:
        yield _warn("parked", f"{parked} VMs wait for a person", "configdrive show")


def served_queues(settings: Settings) -> dict[str, set[str]]:
    """Ask all workers which queues they take from."""
    from workers.queueing.app import make_app

    app = make_app(settings)
    try:
        answers = app.control.inspect(timeout=_ANSWER_SECONDS).active_queues() or {}
    finally:
        app.close()
    return {node: {queue["name"] for queue in found} for node, found in answers.items()}
