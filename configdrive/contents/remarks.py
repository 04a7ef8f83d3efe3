"""The remarks on a drive, for the outcome: what is not on it, or will not work, as one may expect. Pure; no secrets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from configdrive.contents.networks import IPV6, links_of, servers_of
from configdrive.contents.openstack import reads_admin_pass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from configdrive.model import DriveSettings, Vm, VmData


_LOOKED_AT: Final = 2**18
"""Bytes of user data that are looked at. A larger cloud-config is one file written out."""
_KEY: Final = re.compile(r"^['\"]?(chpasswd|users|password)['\"]?\s*:(.*(?:\n(?:[ \t-].*|[ \t]*|#.*)?)*)", re.MULTILINE)
"""A key at the top of a cloud-config, and all that is below it."""


def remarks(vm: Vm, data: VmData, settings: DriveSettings, *, has_password: bool) -> tuple[str, ...]:
    """Return a sentence for each thing that the sender of an event should know of the drive that was made for it."""
    return (*(_of_password(vm, data, settings) if has_password else ()), *_of_nics(data))


def _of_password(vm: Vm, data: VmData, settings: DriveSettings) -> Iterator[str]:
    if vm.guest_os is None and not reads_admin_pass(vm, settings.admin_pass):
        yield "no admin_pass: guest_os unknown"
    problem = None if data.user_data is None else _drops_password(data.user_data.get_secret_value())
    if problem is not None:
        yield f"user_data: {problem}, so cloud-init does not set this password; configdrive-guest does"


def _drops_password(user_data: bytes) -> str | None:
    """Say what in a cloud-config keeps cloud-init (`cc_set_passwords`) from setting the vendor data's password.

    Seen is what stands in the text itself: no archive, no MIME parts, nothing that is fetched.
    """
    text = user_data[:_LOOKED_AT].decode(errors="replace")
    if not re.match(r"(## template: *jinja\s*\n)?#cloud-config\s*\n", text):
        return None
    keys: dict[str, str] = dict(_KEY.findall(text))
    if re.search(r"\b(list|users)\b['\"]?\s*:", keys.get("chpasswd", "")):
        return "'chpasswd' names the users whose passwords are set"
    if re.search(r"\S", keys.get("password", "")):
        return "'password' is another one"
    users = keys.get("users")
    if users is not None and not re.search(r"(^|[-\[,\s])['\"]?default['\"]?\s*($|[,\]#])", users, re.MULTILINE):
        return "'users' has no 'default'"
    return None


def _of_nics(data: VmData) -> Iterator[str]:
    links = links_of(data.nics or ())
    if servers_of(links) and not any(link.is_static for link in links):
        yield "nics: netplan takes name servers from DHCP alone, as no NIC has a fixed address"
    for index, link in enumerate(links):
        six = [subnet.address for subnet in link.subnets if subnet.address.cidr and subnet.address.family == IPV6]
        if six and not any(address.gateway or address.routes for address in six):
            yield f"nics[{index}]: no IPv6 gateway, and beside a fixed address cloud-init heeds no router advertisement"
