from pathlib import Path
from typing import Any

import pytest

from configdrive.errors import PermanentCode
from tests.support import error_of
from workers.hypervisors.kvm.inventory import StorageRoute, parse

SSH = {"host": "kvm-01", "key_file": "/k", "known_hosts": "/h"}


def host(**fields: object) -> dict[str, Any]:
    return {"hosts": {"kvm-01": {"uri": "qemu:///system", **fields}}}


def test_a_host_needs_no_more_than_its_uri() -> None:
    table = parse(host()).hosts["kvm-01"]
    assert (table.libvirt_uri, table.ssh, table.cd_targets) == ("qemu:///system", None, ())
    assert table.cache_directory == Path("/var/cache/configdrive")
    assert table.storage_route is StorageRoute.AUTO


def test_everything_can_be_said() -> None:
    table = parse(
        host(
            uri="qemu+libssh2://root@kvm-01/system",
            cd_targets=["hdd", "scsi:sdb", "usb:sdc"],
            cache_directory="/srv/cache",
            storage_route="sftp",
            connections=8,
            ssh={**SSH, "port": 2222, "user": "configdrive"},
            pools={"a pool": {"shared": True}, "b": {}},
        )
    ).hosts["kvm-01"]
    assert "known_hosts=/h" in table.libvirt_uri
    assert "known_hosts_verify=normal" in table.libvirt_uri
    assert table.pools["a pool"].shared is True
    assert table.pools["b"].shared is None


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({}, "kvm.hosts: Field required"),
        ({"hosts": {}}, "kvm.hosts: "),
        ({"hosts": {"a": {}}}, "kvm.hosts.a.uri: Field required"),
        (host(uri="qemu+ssh://kvm-01/system"), "kvm.hosts.kvm-01.uri: qemu+ssh ignores known_hosts"),
        (host(uri="qemu+tls://kvm-01/system?no_verify=1"), "kvm.hosts.kvm-01.uri: no_verify=1"),
        (host(uri="qemu+libssh2://kvm-01/system"), "kvm.hosts.kvm-01: an ssh URI needs the table 'ssh'"),
        (host(storage_route="sftp"), "kvm.hosts.kvm-01: storage_route 'sftp' needs the table 'ssh'"),
        (host(storage_route="nfs"), "kvm.hosts.kvm-01.storage_route: "),
        (host(ssh={"host": "kvm-01", "key_file": "/k"}), "kvm.hosts.kvm-01.ssh.known_hosts: Field required"),
        (host(ssh={**SSH, "known_hosts": None}), "kvm.hosts.kvm-01.ssh.known_hosts: "),
        (host(ssh={**SSH, "host": "-oProxyCommand=x"}), "kvm.hosts.kvm-01.ssh.host: "),
        (host(ssh={**SSH, "port": 0}), "kvm.hosts.kvm-01.ssh.port: "),
        (host(ssh={**SSH, "password": "x"}), "kvm.hosts.kvm-01.ssh.password: Extra inputs"),
        (host(cache_directory="cache"), "kvm.hosts.kvm-01.cache_directory: must be an absolute path"),
        (host(cache_directory="/var/../etc"), "kvm.hosts.kvm-01.cache_directory: must be an absolute path"),
        (host(cache_directory="/"), "kvm.hosts.kvm-01.cache_directory: must be an absolute path"),
        (host(cd_targets=["vda"]), "kvm.hosts.kvm-01.cd_targets.0: "),
        (host(cd_targets=["ide:sda"]), "kvm.hosts.kvm-01.cd_targets.0: "),
        (host(connections=0), "kvm.hosts.kvm-01.connections: "),
        (host(cdtargets=[]), "kvm.hosts.kvm-01.cdtargets: Extra inputs"),
        (host(pools={"a": {"shard": True}}), "kvm.hosts.kvm-01.pools.a.shard: Extra inputs"),
    ],
)
def test_the_wrong_field_is_named(section: dict[str, Any], words: str) -> None:
    caught = error_of(parse, section)
    assert caught.code is PermanentCode.MISCONFIGURED
    assert caught.detail.startswith(f"inventory: {words}")
    assert caught.remedy


def test_what_is_wrong_is_not_repeated() -> None:
    assert "swordfish" not in str(error_of(parse, host(uri="qemu+tls://root:swordfish@kvm-01/system")))
