from pathlib import PurePosixPath
from typing import Any

import pytest

from configdrive.errors import PermanentCode, PermanentError
from tests.support import error_of
from workers.hypervisors.xenserver.inventory import PoolTable
from workers.hypervisors.xenserver.records import HostRecord, PbdRecord, SrRecord
from workers.hypervisors.xenserver.topology import Site, Topology

TABLE = PoolTable.model_validate({"password": "x"})
HOST = HostRecord(ref="h", uuid="uuid-h", name_label="xs-01")


def storage(ref: str, kind: str, label: str = "", **fields: Any) -> SrRecord:  # noqa: ANN401
    shown = {"content_type": "user", "shared": False, "other_config": {}, "type": kind, **fields}
    return SrRecord.model_validate({"ref": ref, "uuid": f"uuid-{ref}", "name_label": label or ref, **shown})


def topology(*storages: SrRecord, config: dict[str, str] | None = None) -> Topology:
    pbds = {
        f"pbd-{sr.ref}": PbdRecord.model_validate(
            {
                "ref": f"pbd-{sr.ref}",
                "uuid": "u",
                "host": HOST.ref,
                "SR": sr.ref,
                "device_config": config or {},
                "currently_attached": True,
            }
        )
        for sr in storages
    }
    return Topology({HOST.ref: HOST}, {sr.ref: sr for sr in storages}, pbds, {})


def site(sr: SrRecord, config: dict[str, str] | None = None) -> Site:
    return topology(sr, config=config).site(sr, HOST.ref, TABLE)


@pytest.mark.parametrize(
    ("sr", "config", "location"),
    [
        (storage("s", "nfs"), {"server": "n", "serverpath": "/e"}, "n:/e/uuid-s/configdrive"),
        (storage("s", "nfs", sm_config={"nosubdir": "true"}), {"server": "n", "serverpath": "/e/"}, "n:/e/configdrive"),
        (storage("s", "nfs"), {"server": "2001:db8::1", "serverpath": "/e"}, "[2001:db8::1]:/e/uuid-s/configdrive"),
    ],
)
def test_of_nfs_all_hosts_share_a_folder_of_the_same_export(
    sr: SrRecord, config: dict[str, str], location: str
) -> None:
    found = site(sr, config)
    assert found.shared
    assert found.config == {"location": location, "type": "nfs_iso"}
    assert found.directory == PurePosixPath("/run/sr-mount/uuid-s/configdrive")


def test_the_nfs_version_is_the_primary_storage_s() -> None:
    config = {"server": "n", "serverpath": "/e", "nfsversion": "4.1"}
    assert site(storage("s", "nfs"), config).config["nfsversion"] == "4.1"


@pytest.mark.parametrize(
    ("kind", "directory"),
    [
        ("ext", "/run/sr-mount/uuid-s/configdrive"),
        ("file", "/run/sr-mount/uuid-s/configdrive"),
        ("lvm", "/var/opt/xen/configdrive/uuid-s"),
        ("lvmoiscsi", "/var/opt/xen/configdrive/uuid-s"),
        ("lvmohba", "/var/opt/xen/configdrive/uuid-s"),
        ("gfs2", "/var/opt/xen/configdrive/uuid-s"),
        ("smb", "/var/opt/xen/configdrive/uuid-s"),
    ],
)
def test_of_all_else_each_host_has_its_own(kind: str, directory: str) -> None:
    found = site(storage("s", kind, shared=kind not in {"ext", "file", "lvm"}))
    assert found == Site(
        shared=False, directory=PurePosixPath(directory), config={"location": directory, "legacy_mode": "true"}
    )


def test_a_storage_that_the_host_has_not_has_no_site() -> None:
    assert error_of(topology().site, storage("s", "ext"), HOST.ref, TABLE).code is PermanentCode.STORAGE_NOT_FOUND


def test_storages_are_found_by_uuid_and_by_a_label_that_only_one_has() -> None:
    one, two, alone = storage("a", "ext", "Local storage"), storage("b", "lvm", "Local storage"), storage("c", "nfs")
    pool = topology(one, two, alone, storage("d", "iso", "ISOs"), storage("e", "udev", "DVD drives"))
    assert pool.find(HOST.ref, "uuid-a") is one
    assert pool.find(HOST.ref, "c") is alone
    assert pool.find(HOST.ref, "ISOs") is pool.find(HOST.ref, "DVD drives") is pool.find("other", "c") is None
    with pytest.raises(PermanentError, match="2 storages of the host are called 'Local storage'"):
        pool.find(HOST.ref, "Local storage")
    assert [pool.name_of(sr, HOST.ref) for sr in (one, two, alone)] == ["uuid-a", "uuid-b", "c"]


def test_a_label_that_is_another_s_uuid_does_not_mislead() -> None:
    right, wrong = storage("a", "ext"), storage("b", "ext", "uuid-a")
    assert topology(wrong, right).find(HOST.ref, "uuid-a") is right


def test_a_host_is_found_by_its_label_or_uuid_if_that_is_one() -> None:
    twin = HostRecord(ref="h2", uuid="uuid-h2", name_label="xs-01")
    pool = Topology({"h": HOST, "h2": twin}, {}, {}, {})
    assert pool.host("xs-01") is None
    assert pool.host("uuid-h2") is twin
    assert topology().host("xs-01") is HOST
