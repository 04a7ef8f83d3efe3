"""Two real KVM hosts beside each other, with storage that they share and storage of their own."""

import json
from pathlib import Path

from rigs.libvirt import LibvirtHost
from tests.integration.kvm.cloud import Cloud

SHARED, LOCAL, OTHER, ALONE = "shared", "local", "other", "alone"
"""Pools: one of the same files on both hosts, two of each host's own at the same path, one on the first host only."""

POOLLESS, CACHE = "poolless", "cache"
"""Directories in no pool: one that both hosts share, and the cache of each."""


class Site:
    """The hosts `h1` and `h2`, their pools, and a place that lies in no pool.

    Args:
        directory: for the storages' files.
        hosts: both, started, with `private_paths` of `directory` as their own.
    """

    def __init__(self, directory: Path, hosts: tuple[LibvirtHost, LibvirtHost]) -> None:
        self.directory = directory
        self.hosts = {"h1": hosts[0], "h2": hosts[1]}
        self.clouds = {name: Cloud(host, SHARED, directory / SHARED, name) for name, host in self.hosts.items()}
        for host in hosts:
            host.define_pool(LOCAL, directory / LOCAL)
            host.define_pool(OTHER, directory / OTHER)
        hosts[0].define_pool(ALONE, directory / ALONE)
        (directory / POOLLESS).mkdir()

    @staticmethod
    def private_paths(directory: Path) -> list[Path]:
        """Return the directories that each host has for itself."""
        return [directory / name for name in (LOCAL, OTHER, ALONE, CACHE)]

    @property
    def inventory(self) -> str:
        """The inventory's text: what libvirt cannot know of the shared directory is said there."""
        return "".join(
            f"[kvm.hosts.{name}]\nuri = {json.dumps(host.uri)}\n"
            f"cache_directory = {json.dumps(str(self.directory / CACHE))}\n"
            f"pools.{SHARED}.shared = true\n"
            for name, host in self.hosts.items()
        )

    def close(self) -> None:
        """Take all VMs away, and close the connections."""
        for cloud in self.clouds.values():
            for found in cloud.connection.listAllDomains(0):
                persistent = found.isPersistent()
                if found.isActive():
                    found.destroy()
                if persistent:
                    found.undefine()
            cloud.close()
