"""What the story needs of a hypervisor: a VM to switch on and off, and a guest that says what it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from configdrive.model import HypervisorName


@dataclass(frozen=True, slots=True)
class Reading:
    """What the guest read from its drive.

    Args:
        session: the shell session in which it read, for people.
        files: path below the drive's root -> content.
    """

    session: str
    files: Mapping[str, bytes] = field(repr=False)


class Stage(Protocol):
    """One hypervisor host with one VM on it, which is defined and switched off."""

    hypervisor: HypervisorName
    host: str
    vm_uuid: str
    instance_name: str
    about: str
    """One line: what this hypervisor and its guest are."""
    reads: str
    """Who reads the drive, and where it says so."""

    def inventory(self) -> str:
        """Return the TOML by which the fleet's workers reach the host."""

    def power_on(self) -> Reading:
        """Switch the VM on and wait until its guest has read the drive."""

    def power_off(self) -> None:
        """Switch the VM off."""

    def images(self) -> list[str]:
        """Return the names of all image files on the host's storage."""
