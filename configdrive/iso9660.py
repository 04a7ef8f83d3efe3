"""Reads an ISO 9660 image back, as strictly as it can: the second opinion on what the image builder has written.

Shares no code with the builder. Follows ECMA-119 (volume descriptors, path tables, directory records), SUSP 1.12 and
RRIP 1.09 (Rock Ridge), and the Joliet specification. Takes only the images of this fleet: whatever a reader might take
in another way (a second session, extended attributes, interleaving, hidden or multi-extent files) counts as damage.

Must not know what stands on a config drive; comparing with what was wanted is `configdrive.image`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct, error as StructError
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

SECTOR: Final = 2048
"""Bytes of a logical sector and of a logical block (ECMA-119 6.1.2)."""

SYSTEM_AREA: Final = 16 * SECTOR
"""Bytes before the first volume descriptor. All zero: no partition table may turn the drive into something else."""
