"""Lifecycle events as their senders write them: JSON documents, each word with every field it may have."""

import json
from typing import Any

from configdrive.contract.events import LifecycleEvent, parse

ALICE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBX/n6vr4GrJSYCkHPkw+I7IRSMI2qngzAPk/25P3XQ/"
BOB = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIG2N9j80sbaY1nmljEToRcN55XktyW4TR4LTP2exYzp bob"
UUID = "3a9c10f9-5d53-4d3d-9f3a-0a7d1c2b3e4f"
OTHER_UUID = "0b7e21aa-1c2d-4e3f-8a9b-5c6d7e8f9a0b"
WORDS = ("deploy", "start", "stop", "migrate", "password_reset", "update", "destroy")
CONTENT_WORDS = ("deploy", "start", "password_reset", "update")

Json = dict[str, Any]


def document(word: str, **data: object) -> Json:
    """An event with no more than it needs, and `data` on top; a password reset brings a password."""
    needed: Json = {
        "sequence": 1,
        "vm": {"uuid": UUID, "instance_name": "i-2-14-VM"},
        "hypervisor": "memory",
        "host": "host-1",
    }
    if word == "migrate":
        needed["destination"] = "host-2"
    if word == "password_reset" and not {"guest", "sealed"} & data.keys():
        needed["guest"] = {"password": "correct horse"}
    return {
        "specversion": "1.0",
        "id": f"event-{data.get('sequence', 1)}",
        "source": "orchestrator/1",
        "time": "2026-03-10T07:13:00Z",
        "type": f"configdrive.vm.{word}.v1",
        "data": needed | data,
    }


def event(word: str, **data: object) -> LifecycleEvent:
    return parse(json.dumps(document(word, **data)))


def full_guest() -> Json:
    """Guest data with every field of the contract."""
    return {
        "metadata": {
            "availability_zone": "zone1",
            "cloud_identifier": "CloudStack-{5d53a4d3}",
            "instance_id": "i-2-14-VM",
            "local_hostname": "web-1",
            "service_offering": "Small Instance",
            "vm_id": "14",
            "local_ipv4": "10.1.1.14",
            "public_ipv4": "203.0.113.14",
            "public_hostname": "203-0-113-14.example",
            "hypervisor_host_name": "kvm-7",
            "cloud_domain": "ROOT",
            "cloud_domain_id": "8d7c6b5a",
            "cloud_name": "example cloud",
            "extra": {"team": "blue", "notes": "first line\nsecond line"},
        },
        "user_data": {"text": "#!/bin/sh\necho hello\n"},
        "instance_id": "again-2",
        "random_seed": "c2VlZA==",
        "ssh_keys": [
            {
                "name": "alice",
                "key": f"{ALICE} alice@example",
            },
            BOB,
        ],
        "nics": [
            {
                "mac": "02:00:5e:10:00:01",
                "mtu": 1450,
                "default": True,
                "dns": ["192.0.2.53"],
                "addresses": [
                    {
                        "cidr": "10.1.1.14/24",
                        "gateway": "10.1.1.1",
                        "routes": [{"to": "10.9.0.0/16", "via": "10.1.1.2"}],
                    },
                    {"dhcp": 6},
                ],
            },
            {
                "mac": "02:00:5e:10:00:02",
                "addresses": [],
                "bond": {
                    "links": ["02:00:5e:10:00:02", "02:00:5e:10:00:03"],
                    "mode": "802.3ad",
                    "miimon": 50,
                    "xmit_hash_policy": "layer3+4",
                },
            },
            {"mac": "02:00:5e:10:00:02", "addresses": [], "vlan": {"link": "02:00:5e:10:00:02", "id": 42}},
        ],
        "password": "correct horse",
    }


def full_document(word: str) -> Json:
    """An event with every field that the contract has for this word (of `guest` and `sealed`: `guest`)."""
    data: Json = {
        "sequence": 7,
        "zone": "zone-1",
        "primary_storage": "primary 1",
        "attach": "orchestrator",
        "presentation": "disk",
        "guest_os": "linux",
        "definition": {
            "machine": "q35",
            "arch": "x86_64",
            "disks": [{"target": "vda", "bus": "virtio", "device": "disk", "boot": 1}],
            "controllers": [{"type": "scsi", "model": "virtio-scsi", "index": 0}],
            "boot": ["cdrom", "hd"],
        },
    }
    if word in CONTENT_WORDS:
        data |= {
            "network_offering": {
                "name": "isolated",
                "services": {"UserData": "ConfigDrive", "Dhcp": ["VirtualRouter"]},
            },
            "password_enabled": True,
            "label": "config-2",
            "guest": full_guest(),
        }
    of_word: dict[str, Json] = {
        "deploy": {"start": True},
        "stop": {"booted": False},
        "migrate": {"phase": "prepare"},
        "password_reset": {"apply": "now"},
        "update": {"apply": "now", "password_delivered": True},
    }
    return document(word, **data, **of_word.get(word, {})) | {
        "subject": UUID,
        "datacontenttype": "application/json",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
