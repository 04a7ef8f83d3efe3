"""A small Linux guest that reads its config drive and prints what it found.

`kernel` makes it (a Debian kernel and an initial RAM disk of ours), `domain` writes its libvirt XML, `report` reads
what it printed on its serial console.
"""

from rigs.guest.domain import Disk, Machine, domain_xml
from rigs.guest.kernel import GuestKernel
from rigs.guest.report import DriveReport, read_reports, wait_for_boot, wait_for_report

__all__ = [
    "Disk",
    "DriveReport",
    "GuestKernel",
    "Machine",
    "domain_xml",
    "read_reports",
    "wait_for_boot",
    "wait_for_report",
]
