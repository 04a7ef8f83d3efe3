"""Small records made smaller, before they are kept by the hundred thousand: deflate, primed with what all of them say.

What is packed begins with a byte with which no JSON begins, so what was kept before there was packing is read as well.
"""

from __future__ import annotations

import zlib

LARGEST = 64 * 2**10
"""Bytes up to which it is worth the time: what is larger is mostly user data, and few VMs have so much."""

_MARK = b"\x01"
_RAW = -15  # zlib's word for a stream without header and checksum, of any window
# A window of 4 KiB and little memory, since clearing zlib's own takes twice as long as packing a record: 15 us, not 48.
_RAW_SMALL, _LITTLE_MEMORY = -12, 6

# Never changed: what is packed can only be read with it. Another one needs another mark.
# The end is found cheapest, so what is said most often comes last.
_SAID = (
    b'{"family":4,"address":"10.1.1.10","prefix":24,"gateway":"10.1.1.1","routes":[]}],"mtu":1500,"default":true,'
    b'"dns":["ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQ"xml":"<disk type=\'file\' device=\'cdrom\'>'
    b"<driver name='qemu' type='raw'/><source file='/var/lib/libvirt/images/configdrive/'/>"
    b'<target dev=\'hdd\' bus=\'ide\'/><readonly/></disk>""presentation":"disk","attach_by":"orchestrator",'
    b'"destination":"","adopted":true,"left_on":["","pending":"v1."wanted":false,"password_enabled":false,'
    b'"status":"dropped","code":"superseded","remedy":"","left_behind":"#cloud-config\npackages:\n  - \nruncmd:\n'
    b'  - [\nwrite_files:\n  - path: /etc/\n    content: |\n#!/bin/sh\n{"metadata":{"availability_zone":"zone-1",'
    b'"cloud_identifier":"CloudStack-{","instance_id":"i-2-","local_hostname":"",'
    b'"service_offering":"Small Instance","vm_id":"1","local_ipv4":null,"public_ipv4":null,"public_hostname":null,'
    b'"hypervisor_host_name":null,"cloud_domain":null,"cloud_domain_id":null,"cloud_name":null,"extra":[]},'
    b'"user_data":null,"ssh_keys":[{"name":"key-1","line":"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI"}],"nics":null,'
    b'"label":null}{"event_id":"","event_type":"destroy","event_type":"migrate","event_type":"password_reset",'
    b'"event_type":"update","event_type":"deploy","event_type":"stop","vm_uuid":"","sequence":1,"status":"applied",'
    b'"at":17,"detail":"","attempts":1,"facts":{"attach":"removed","attach":"next_boot","attach":"hot_added",'
    b'"attach":"inserted","device":"hdd","path":"/configdrive/i-2-","storage":"primary","generation":"2",'
    b'"password":"on_drive","password":"none"}}{"vm":{"uuid":"","instance_name":"i-2-1-VM","hypervisor":"vmware",'
    b'"hypervisor":"xenserver","hypervisor":"kvm","host":"","primary_storage":"","zone":"zone-1"},"sequence":2,'
    b'"phase":"staged","phase":"attached","data":"v1.","carried":"v1.","image":{"generation":2,"built_at":17},'
    b'"places":[{"storage":"primary","host":null}]}'
)


def pack(plain: bytes) -> bytes:
    """Return it in its small form; as it is, when it is large. It must not begin with the byte 1."""
    if len(plain) > LARGEST:
        return plain
    deflate = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, _RAW_SMALL, _LITTLE_MEMORY, zdict=_SAID)
    return _MARK + deflate.compress(plain) + deflate.flush()


def unpack(packed: bytes) -> bytes:
    """Return what `pack` was given; what was never packed as it is.

    Raises:
        ValueError: it is damaged, or larger than anything that is packed.
    """
    if not packed.startswith(_MARK):
        return packed
    inflate = zlib.decompressobj(_RAW, zdict=_SAID)
    try:
        plain = inflate.decompress(packed[1:], LARGEST + 1)
    except zlib.error:
        raise ValueError("a packed record is damaged") from None
    if not inflate.eof or len(plain) > LARGEST:
        raise ValueError("a packed record is damaged, or too large")
    return plain
