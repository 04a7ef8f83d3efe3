"""The XenServer driver's rig once more, with images by SFTP to dom0 and a scan of the SR."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from typing_extensions import override

from configdrive.model import Image, Place
from rigs.xapi import XapiPool
from tests.contract.rig import Feature
from tests.contract.rigs import xenserver
from tests.contract.rigs.xenserver import HOST, XenServerRig
from tests.integration.xenserver.dom0 import Dom0Server
from tests.support import require_rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.contract.rig import DriverRig

FEATURES = xenserver.FEATURES - {Feature.DRIVES}


class XenServerSftpRig(XenServerRig):
    """A killed upload leaves a half-written file of another name here."""

    @override
    def leave_half_upload(self, image: Image, place: Place) -> None:
        self.files.put(place, f"{image.name}.part", image.content[: len(image.content) // 2])


@contextmanager
def open_rig(folder: Path) -> Iterator[DriverRig]:
    with require_rig():
        pool = XapiPool(folder / "pool", (HOST,))
    with pool, Dom0Server(folder / "ssh", pool.host(HOST)) as dom0:
        yield XenServerSftpRig(pool, {"storage_route": "sftp"}, {"ssh": dom0.table})
