"""The records that XAPI answers with, as far as the driver reads them. XAPI's own names stand beside each (`alias`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

NULL: Final = "OpaqueRef:NULL"
"""A reference to nothing."""

Ref = str
"""An opaque reference of XAPI's."""


class Record(BaseModel):
    """What every record has."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True, populate_by_name=True)

    ref: Ref
    uuid: str


class HostRecord(Record):
    """Class host."""

    name_label: str
    metrics: Ref = NULL
    software_version: Mapping[str, str] = Field(default_factory=dict)


class MetricsRecord(Record):
    """Class host_metrics. `live`: whether the pool has heard of the host lately."""

    live: bool


class SrRecord(Record):
    """Class SR. `vdis`: every VDI in it."""

    name_label: str
    kind: str = Field(alias="type")
    content_type: str
    shared: bool
    other_config: Mapping[str, str]
    sm_config: Mapping[str, str] = Field(default_factory=dict)
    vdis: tuple[Ref, ...] = Field(default=(), alias="VDIs")


class PbdRecord(Record):
    """Class PBD: how one host reaches one SR."""

    host: Ref
    sr: Ref = Field(alias="SR")
    device_config: Mapping[str, str]
    currently_attached: bool


class VmRecord(Record):
    """Class VM. `power_state` is `Halted`, `Paused`, `Running` or `Suspended`."""

    name_label: str
    power_state: str
    resident_on: Ref
    affinity: Ref
    is_a_template: bool
    is_a_snapshot: bool
    is_control_domain: bool
    domain_type: str = "unspecified"
    ha_restart_priority: str = ""
    hvm_boot_policy: str = Field(default="", alias="HVM_boot_policy")

    @property
    def is_hvm(self) -> bool:
        """Whether a device model emulates its hardware; releases before 7.5 say it by the boot policy alone."""
        return self.domain_type == "hvm" or (self.domain_type == "unspecified" and self.hvm_boot_policy != "")

    @property
    def is_protected(self) -> bool:
        """Whether HA restarts it on any host; it may then have nothing that one host alone sees."""
        return self.ha_restart_priority == "restart"

    @property
    def is_a_vm(self) -> bool:
        """Whether it is none of the other things that are VMs in XAPI."""
        return not (self.is_a_template or self.is_a_snapshot or self.is_control_domain)

    @property
    def is_live(self) -> bool:
        """Whether it is on a host now."""
        return self.power_state in {"Running", "Paused"}


class VbdRecord(Record):
    """Class VBD: a drive. `kind` is `CD`, `Disk` or `Floppy`, `mode` is `RO` or `RW`."""

    vm: Ref = Field(alias="VM")
    vdi: Ref = Field(alias="VDI")
    userdevice: str
    bootable: bool
    mode: str
    kind: str = Field(alias="type")
    empty: bool
    currently_attached: bool
    other_config: Mapping[str, str]

    @property
    def medium(self) -> Ref | None:
        """The VDI in it."""
        return None if self.empty or self.vdi == NULL else self.vdi


class VdiRecord(Record):
    """Class VDI: on an ISO SR, a file. `location` is its name, `size` its bytes."""

    name_label: str
    name_description: str
    sr: Ref = Field(alias="SR")
    location: str
    size: int = Field(alias="virtual_size")
    vbds: tuple[Ref, ...] = Field(default=(), alias="VBDs")


class TaskRecord(Record):
    """Class task. `status` is `pending`, `success`, `failure`, `cancelling` or `cancelled`."""

    status: str
    error_info: tuple[str, ...] = ()
