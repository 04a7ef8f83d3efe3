"""The examinations of `configdrive doctor`: settings, keys, inventory, hosts. Those of Redis stand beside."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from configdrive.errors import FleetError
from configdrive.model import DEFAULT_LABEL, HostName, HypervisorName
from workers.config.settings import Settings, load_settings
from workers.config.unknown_variables import ignored_variables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from configdrive.ports import HypervisorDriver
    from workers.config.inventory import Table


class Level(StrEnum):
    """How bad a finding is: well, works but should be mended, does not work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    subject: str
    detail: str
    remedy: str = ""


def ok(subject: str, detail: str) -> Finding:
    """Return that it is well."""
    return Finding(Level.OK, subject, detail)


def warn(subject: str, detail: str, remedy: str) -> Finding:
    """Return that it works, but should be mended."""
    return Finding(Level.WARN, subject, detail, remedy)


def fail(subject: str, detail: str, remedy: str) -> Finding:
    """Return that it does not work."""
    return Finding(Level.FAIL, subject, detail, remedy)


def examine() -> Iterator[Finding]:
    """Look at everything, cheapest first."""
    from workers.cli.redis_health import examine_redis

    try:
        settings = load_settings()
    except FleetError as error:
        yield fail("settings", error.detail, error.remedy)
        return
    yield from _settings(settings)
    yield from _keys(settings)
    yield from examine_redis(settings)
    yield from _inventory(settings)


def _settings(settings: Settings) -> Iterator[Finding]:
    changed = sorted(name for name in settings.model_fields_set if name != "redis_url")
    source = os.environ.get("CONFIGDRIVE_SETTINGS")
    whence = f"from {source} and the environment" if source else "from the environment"
    detail = f"{', '.join(changed)} {whence}" if changed else "all at their defaults but, perhaps, redis_url"
    yield ok("settings", detail)
    for one in ignored_variables(os.environ):
        yield warn("settings", one.detail, one.remedy)
    if settings.label == DEFAULT_LABEL:
        note = "guests find it by scripts of their own; cloud-init and cloudbase-init look for 'config-2' only"
        yield ok("label", f"{settings.label!r}: {note} (CONFIGDRIVE_LABEL=config-2)")


def _keys(settings: Settings) -> Iterator[Finding]:
    from workers.config.keys import read_keys, read_public

    try:
        if settings.public_key is not None:
            read_public(settings.public_key)
            yield ok("keys", "the setting public_key: this process publishes, and opens nothing")
            return
        if not settings.keys_file.exists():
            detail = f"{settings.keys_file} is not there; the first worker or publisher would make it"
            yield warn(
                "keys", detail, "copy the fleet's key file to here, or if there is none: `configdrive keys generate`"
            )
            return
        keys = read_keys(settings.keys_file)
    except FleetError as error:
        yield fail("keys", error.detail, error.remedy)
        return
    yield ok("keys", f"{settings.keys_file}: {len(keys)}, the newest is {keys[-1].identity} of {keys[-1].created}")


def _inventory(settings: Settings) -> Iterator[Finding]:
    from workers.config.inventory import read_inventory

    if settings.public_key is not None and not settings.inventory.exists():
        yield ok("inventory", "none, which a publisher does not need")
        return
    try:
        tables = read_inventory(settings.inventory)
    except FleetError as error:
        yield fail("inventory", error.detail, error.remedy or f"correct {settings.inventory}")
        return
    if not tables:
        yield warn("inventory", f"{settings.inventory} is empty", "add a table such as [kvm.hosts.kvm-01]")
        return
    yield ok("inventory", f"{settings.inventory}: {', '.join(sorted(tables))}")
    for name in sorted(tables):
        yield from _hypervisor(settings, name, tables)


def _hypervisor(settings: Settings, name: HypervisorName, tables: Mapping[HypervisorName, Table]) -> Iterator[Finding]:
    from workers.worker import known_hypervisors, make_driver

    try:
        driver = make_driver(settings, name, tables)
    except FleetError as error:
        yield fail(name, error.detail, error.remedy or f"correct [{name}] in {settings.inventory}")
        return
    try:
        hosts = sorted(driver.hosts())
        yield ok(name, f"the driver is there; hosts: {', '.join(hosts) or 'none'}")
        if name not in known_hypervisors(settings):
            remedy = "add it to CONFIGDRIVE_HYPERVISORS, or leave that empty"
            yield warn(name, "events for it are refused: the setting 'hypervisors' does not name it", remedy)
        for host in hosts:
            yield from _host(driver, HostName(host))
    finally:
        driver.close()


def _host(driver: HypervisorDriver, host: HostName) -> Iterator[Finding]:
    try:
        for check in driver.check(host):
            if check.ok:
                yield ok(check.subject, check.detail)
            else:
                remedy = check.remedy or f"look at the host, and at its table [{driver.name}.hosts.{host}]"
                yield fail(check.subject, check.detail, remedy)
    except Exception as error:  # noqa: BLE001 - one driver's fault must not keep the others from being looked at
        yield fail(f"{driver.name} host {host}", f"the check itself failed: {type(error).__name__}", "please report it")
