"""All settings of the fleet: environment variables `CONFIGDRIVE_…`, or a TOML file named by `CONFIGDRIVE_SETTINGS`.

Each field says why it exists, its unit, and how to turn it off. Combinations that are known to lose or repeat work are
refused at the start, with the remedy (measured: see docs/adr).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic_settings import SettingsConfigDict

from configdrive.client.settings import ClientSettings, read_settings, refuse
from configdrive.contract.fields import LabelField
from configdrive.model import DEFAULT_LABEL, AdminPass, DriveSettings
from workers.config.cloudstack import CloudStackSettings
from workers.config.vendor_data import read_vendor_data

Seconds = Annotated[float, Field(gt=0, le=7 * 86_400)]

_POOL_MARGIN = 5.0


def _config_home() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "configdrive"


class Settings(ClientSettings):
    """Settings of workers and the command line; what publishers need as well stands in `ClientSettings`."""

    model_config = SettingsConfigDict(extra="forbid")

    inventory: Path = Field(default_factory=lambda: _config_home() / "inventory.toml")
    """The TOML file with the hosts, pools and vCenters. Only workers, `sweep` and `doctor` need it."""

    keys_file: Path = Field(default_factory=lambda: _config_home() / "keys.json")
    """The private keys (mode 0600), the same file for all workers. A new fleet's first worker makes it; a later one
    that has none of the fleet's keys ends (78), and publishers refuse to seal with another."""

    fleet_id: Annotated[str, StringConstraints(pattern=r"^[a-z2-7]{8}$")] | None = None
    """The id that every image's name carries, so that a sweep deletes its own fleet's only: eight of `a-z` and `2-7`.
    Unset, the first worker makes one and keeps it in Redis. Keep it beside the keys: who loses Redis needs it."""

    label: LabelField = DEFAULT_LABEL
    """Volume label of drives whose VM names none. The specification's default is `config`; cloud-init, cloudbase-init,
    Ignition and afterburn find only `config-2`."""

    admin_pass: AdminPass = AdminPass.WINDOWS
    """Which guests find their password in `admin_pass` of `meta_data.json` too, from where cloudbase-init takes it, and
    cloud-init shows it to every user of the guest. `windows`: those of which an event says `guest_os: windows`.
    `always`: also those of which none says what they run. `never`: none."""

    vendor_data_file: Path | None = None
    """The operator's own vendor data for cloud-init (`#cloud-config`, a script, …; at most 64 KiB), on every drive
    beside what sets the password, which counts where both say the same. Read at the start of a worker. None: none."""

    lease_seconds: Seconds = 30.0
    """How long a dead worker holds up its VM. Renewed within every third of it while the work goes on."""

    wakeup_seconds: Annotated[float, Field(gt=0, le=60)] = 1.0
    """Pause between two passes that find wake-ups which are due; the resolution of every back-off."""

    resend_seconds: Seconds = 15.0
    """A wake-up that was lost on its way (a worker died with it) is sent again after so long, or half as long again."""

    leftover_seconds: Seconds = 30.0
    """How often a host that was away is asked again for what it still has of VMs that were stopped or moved; and how
    often one of the events is tried that are parked because a host or storage is away."""

    orphan_seconds: Annotated[float, Field(ge=0, le=365 * 86_400)] = 86_400.0
    """How long an image whose VM neither the fleet nor any host knows must have been seen so, before `sweep` deletes
    it: time for `configdrive adopt` after a loss of Redis. 0: at once."""

    storage_sweep_seconds: Annotated[float, Field(ge=0, le=365 * 86_400)] = 86_400.0
    """How often workers sweep storages by themselves: delete images that no VM needs, as `configdrive sweep` does.
    Counted from the fleet's last sweep, whoever made it; one worker of all makes the next. 0: never."""

    attempts: Annotated[int, Field(ge=1, le=1000)] = 12
    """Tries of an event with a cause that may pass, before it is parked. 1 turns retries off."""

    unclassified_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    """The same for an unforeseen exception, and for workers that died over the event."""

    give_up_seconds: Seconds = 3600.0
    """An event for which nothing could be tried so long after its first attempt is parked: its storage or host hangs,
    or the workers' connections are all in use. Such an end counts as no attempt."""

    backoff_seconds: Seconds = 1.0
    """Pause before the second attempt; doubled for each further one, with jitter."""

    backoff_most_seconds: Seconds = 300.0
    """The longest pause between two attempts."""

    call_seconds: Seconds = 30.0
    """Time limit of one call to a hypervisor."""

    task_seconds: Seconds = 300.0
    """Time limit of one attempt as a whole. Enforced by killing the pool's child, so only with the prefork pool."""

    pool: Annotated[str, Field(pattern=r"^(prefork|threads|solo)$")] = "prefork"
    """Celery's worker pool. gevent and eventlet are refused: a libvirt call stalls their only thread."""

    concurrency: Annotated[int, Field(ge=1, le=1024)] = 4
    """Events that one worker works on at the same time."""

    force_eject: bool = True
    """Whether a guest that holds the CD tray is overruled after being asked politely."""

    seen_seconds: Annotated[float, Field(ge=60, le=90 * 86_400)] = 7 * 86_400.0
    """How long a finished event's source and id are remembered, to refuse it when it comes again."""

    tombstone_seconds: Annotated[float, Field(ge=60, le=365 * 86_400)] = 30 * 86_400.0
    """How long a destroyed VM is remembered, to refuse late events for it."""

    outcomes_kept: Annotated[int, Field(ge=1000, le=100_000_000)] = 100_000
    """Entries kept on the outcome stream, about."""

    intake: Annotated[str, Field(pattern=r"^(sealed|cleartext|off)$")] = "sealed"
    """What workers and `wake --every` take from the list `intake`, where programs of any language put events. `sealed`:
    guest data must come sealed. `cleartext`: it may stand in the clear as well, where Redis and its files may be read
    by nobody else. `off`: the list is left alone."""

    intake_seconds: Annotated[float, Field(ge=0.005, le=60)] = 0.05
    """Pause between two looks at an empty intake: what an event waits there at most. One process looks at a time."""

    health_file: Path | None = None
    """A file that a living process touches every few seconds: a liveness probe looks at its age. None: off. While Redis
    is away a worker's grows old, as its loop waits for Redis: one that is started anew waits as well, nothing is lost.
    Those of `wake --every` and of `cloudstack` stay fresh."""

    log_format: Annotated[str, Field(pattern=r"^(console|json)$")] = "console"
    """One line per step, for people or for machines."""

    metrics_port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    """Where a worker, `sweep --every`, `cloudstack amqp` and `webhook` answer Prometheus: a port for each of them on a
    machine. 0: a free one, which the log names. None: off. Needs the extra `metrics`."""

    metrics_address: str = "127.0.0.1"
    """On which address; `0.0.0.0` or `::` for a Prometheus on another machine. No password is asked for, nothing secret
    is shown."""

    traces_url: Annotated[str, Field(pattern=r"^https?://[^@\s]+$")] | None = None
    """Where spans go, as OTLP over HTTP: `http://collector:4318/v1/traces`. A collector's login stands in the variable
    OTEL_EXPORTER_OTLP_HEADERS. None: off. Needs the extra `otel`."""

    cloudstack: CloudStackSettings = CloudStackSettings()
    """CloudStack's API, webhooks and event bus, for `configdrive cloudstack`: see `workers/config/cloudstack.py`."""

    @property
    def drives(self) -> DriveSettings:
        """What they say of what is on drives.

        Raises:
            PermanentError: `MISCONFIGURED`, for the file of the vendor data.
        """
        return DriveSettings(
            label=self.label, admin_pass=self.admin_pass, vendor_data=read_vendor_data(self.vendor_data_file)
        )

    @model_validator(mode="after")
    def _refuse_what_loses_work(self) -> Self:
        refuse(
            (
                self.lease_seconds < 3 * self.wakeup_seconds,
                "lease_seconds: must be at least three times wakeup_seconds, or a dead worker is noticed late",
            ),
            (
                self.call_seconds + _POOL_MARGIN > self.task_seconds,
                "task_seconds: must be more than call_seconds + 5, or a slow call is killed before it can fail",
            ),
            (
                self.backoff_most_seconds < self.backoff_seconds,
                "backoff_most_seconds: must not be less than backoff_seconds",
            ),
        )
        return self


def load_settings() -> Settings:
    """Read the settings.

    Raises:
        PermanentError: `MISCONFIGURED`; the detail names the setting, never its value.
    """
    return read_settings(Settings)
