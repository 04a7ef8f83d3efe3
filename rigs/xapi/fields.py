"""What a class of the XenAPI is made of: fields with defaults, what may be set, what a constructor wants.

Names, types and defaults: the XenAPI reference (https://xapi-project.github.io/xen-api/), the version of XenServer and
XCP-ng 8.3. An `int` here is a 64-bit integer there and travels as a string; a `datetime` travels as dateTime.iso8601.
Fields that follow from other rows (`SR.VDIs`, `allowed_operations`, ...) are computed in `views.py`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]
NULL = "OpaqueRef:NULL"
NEVER = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class ClassInfo:
    """One class.

    Args:
        fields: by name, each with its default.
        settable: fields with `set_`, and for maps `add_to_` and `remove_from_`, for sets `add_` and `remove_`.
        required: what the constructor's record must hold, in the order in which xapi looks.
    """

    fields: Record
    settable: frozenset[str] = field(default_factory=frozenset)
    required: tuple[str, ...] = ()

    @property
    def named(self) -> bool:
        """Whether the class has `get_by_name_label`."""
        return "name_label" in self.fields


NAMED: Record = {"uuid": "", "name_label": "", "name_description": ""}
BUSY: Record = {"allowed_operations": [], "current_operations": {}}
NAMES = frozenset({"name_label", "name_description", "other_config"})
