"""The remarks on a drive, for the outcome: what is not on it, or will not work, as one may expect. Pure; no secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from configdrive.contents.networks import IPV6, links_of, servers_of
from configdrive.contents.openstack import reads_admin_pass
from configdrive.contents.vendor_data import Conflict, conflict
from configdrive.model import GuestOs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from configdrive.drive_data import VmData
    from configdrive.model import DriveSettings, Vm


def remarks(vm: Vm, data: VmData, settings: DriveSettings, *, has_password: bool) -> tuple[str, ...]:
    """Return a sentence for each thing that the sender of an event should know of the drive that was made for it."""
    return (*(_of_password(vm, data, settings) if has_password else ()), *_of_nics(vm, data))


def _of_password(vm: Vm, data: VmData, settings: DriveSettings) -> Iterator[str]:
    if vm.guest_os is None and not reads_admin_pass(vm, settings.admin_pass):
        yield "no admin_pass: guest_os unknown"
    match problem := conflict(data):
        case None:
            pass
        case Conflict.OTHER:
            yield f"user_data: {problem}, so cloud-init does not set this password; configdrive-guest does"
        case Conflict.NAMED | Conflict.NO_DEFAULT:
            whose = "for its default user, or root where there is none"
            yield f"user_data: {problem}, so cloud-init sets this password at the end of the first boot, {whose}"


def _of_nics(vm: Vm, data: VmData) -> Iterator[str]:
    links = links_of(data.nics or ())
    bonds = {link.nic.mac for link in links if link.nic.bond is not None}
    if servers_of(links) and not any(link.is_static for link in links):
        yield "nics: netplan takes name servers from DHCP alone, as no NIC has a fixed address"
    for index, link in enumerate(links):
        vlan = link.nic.vlan
        if vm.guest_os is GuestOs.WINDOWS and vlan is not None and vlan.link not in bonds:
            yield f"nics[{index}]: cloudbase-init makes VLANs on bonds only, and beside another one sets no address"
        six = [subnet.address for subnet in link.subnets if subnet.address.cidr and subnet.address.family == IPV6]
        if six and not any(address.gateway or address.routes for address in six):
            yield f"nics[{index}]: no IPv6 gateway, and beside a fixed address cloud-init heeds no router advertisement"
