"""The construction of an adapter, and of the gate, from settings: the only place of this package that constructs."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

from configdrive.client.publisher import Publisher
from configdrive.errors import PermanentCode, PermanentError, TransientError
from workers.cloudstack.adapter import Adapter, Result
from workers.cloudstack.api import Api, ApiKey
from workers.cloudstack.directory import ApiDirectory
from workers.cloudstack.gate import Gate, Verdict
from workers.cloudstack.redis_memory import RedisMemory
from workers.config.clock import SystemClock
from workers.config.cloudstack import CloudStackSettings
from workers.config.key_ring import make_sealer
from workers.config.settings import Settings
from workers.store.mailbox import RedisMailbox

_log: Final = logging.getLogger("configdrive.cloudstack")


def make_api(settings: CloudStackSettings) -> Api:
    """Return CloudStack's API.

    Raises:
        PermanentError: `MISCONFIGURED`.
    """
    if settings.url is None:
        remedy = "give the API's address, https://cloudstack.example/client/api"
        raise PermanentError(PermanentCode.MISCONFIGURED, "cloudstack.url: is not set", remedy)
    key = ApiKey.read(settings.key_file)
    return Api(settings.url, key, seconds=settings.call_seconds, context=_trusting(settings.ca_file))


def make_adapter(
    settings: Settings,
    mailbox: RedisMailbox,
    origin: str,
    watch: Callable[[Result], None] | None = None,
) -> Adapter:
    """Return an adapter; its API was tried once, so that wrong keys are reported at once. `origin`: its entry point.

    Raises:
        PermanentError: `MISCONFIGURED` or `ACCESS_DENIED`.
    """
    return Adapter(
        directory=_make_directory(settings),
        memory=_make_memory(settings, mailbox),
        publisher=Publisher.of(settings, mailbox, make_sealer(settings)),
        dead_letter=mailbox.dead_letter,
        clock=SystemClock(),
        start_at=settings.cloudstack.start_at,
        hosts=settings.cloudstack.hosts,
        drives_for=settings.cloudstack.drives_for,
        origin=origin,
        watch=watch,
    )


def make_gate(settings: Settings, mailbox: RedisMailbox, watch: Callable[[Verdict, float], None] | None = None) -> Gate:
    """Return a gate, as `make_adapter` does an adapter.

    Raises:
        PermanentError: `MISCONFIGURED` or `ACCESS_DENIED`.
    """
    return Gate(
        directory=_make_directory(settings),
        memory=_make_memory(settings, mailbox),
        publisher=Publisher.of(settings, mailbox, make_sealer(settings)),
        clock=SystemClock(),
        hosts=settings.cloudstack.hosts,
        drives_for=settings.cloudstack.drives_for,
        seconds=settings.cloudstack.gate_seconds,
        watch=watch,
    )


def _make_directory(settings: Settings) -> ApiDirectory:
    api = make_api(settings.cloudstack)
    try:
        api.call("listCapabilities")
    except TransientError as error:
        _log.warning("notices will wait: %s", error)
    return ApiDirectory(api)


def _make_memory(settings: Settings, mailbox: RedisMailbox) -> RedisMemory:
    return RedisMemory(
        mailbox.client,
        prefix=settings.key_prefix,
        seen_seconds=settings.seen_seconds,
        gone_seconds=settings.tombstone_seconds,
    )


def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        detail = f"cloudstack.ca_file: {ca_file} cannot be read ({type(error).__name__})"
    raise PermanentError(PermanentCode.MISCONFIGURED, detail, "correct its path; it is a PEM file")
