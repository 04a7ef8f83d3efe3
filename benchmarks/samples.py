"""The VM that all figures of the fleet are about: typical content, and the events of its life."""

from __future__ import annotations

import base64
import itertools
import json
import os
import random
import uuid
from pathlib import Path
from typing import Any

USER_DATA = """\
#cloud-config
package_update: true
packages: [nginx, postgresql-client, fail2ban]
write_files:
  - path: /etc/nginx/conf.d/app.conf
    content: |
      upstream app { server 10.1.1.20:8080; server 10.1.1.21:8080; }
      server { listen 80; location / { proxy_pass http://app; } }
runcmd:
  - [systemctl, enable, --now, nginx]
  - [sh, -c, 'curl -fsS http://10.1.1.5/register?host=$(hostname) || true']
"""
"""An ordinary cloud-config."""


class SampleVm:
    """One VM: six metadata values, an ed25519 key of its own, `USER_DATA`; a password where an event brings one."""

    def __init__(self, number: int, host: str = "host-1") -> None:
        self.uuid = str(uuid.uuid4())
        self.name = f"i-2-{number}-VM"
        self.host = host
        self._number = number
        self._sequence = itertools.count(1)

    def event(self, kind: str, **data: Any) -> dict[str, Any]:  # noqa: ANN401 - the fields of an event's data
        """Return the VM's next event."""
        if kind == "deploy":
            data = {"guest": self.guest(), **data}
        return {
            "specversion": "1.0",
            "id": uuid.uuid4().hex,
            "source": "/benchmarks",
            "type": f"configdrive.vm.{kind}.v1",
            "data": {
                "sequence": next(self._sequence),
                "vm": {"uuid": self.uuid, "instance_name": self.name},
                "hypervisor": "simulated",
                "host": self.host,
                **data,
            },
        }

    def guest(self) -> dict[str, Any]:
        """Return all that the drive tells the VM, as an event carries it."""
        # An OpenSSH ed25519 key: a fixed beginning, then 32 bytes that do not compress.
        key = b"\0\0\0\x0bssh-ed25519\0\0\0 " + random.randbytes(32)  # noqa: S311 - a made-up public key
        return {
            "metadata": {
                "availability_zone": "zone-1",
                "cloud_identifier": f"CloudStack-{{{uuid.uuid4()}}}",
                "instance_id": self.name,
                "local_hostname": f"web-{self._number}",
                "service_offering": "Small Instance",
                "vm_id": str(self._number),
            },
            "ssh_keys": [{"name": "deploy", "key": f"ssh-ed25519 {base64.b64encode(key).decode()} deploy@cloud"}],
            "user_data": {"text": USER_DATA},
        }


def inventory(directory: Path, *, hosts: int = 1, latency_ms: float = 0.0) -> str:
    """Return an inventory of simulated hosts, each with a storage of its own; unknown VMs come into being."""
    tables = "".join(
        f"[simulated.hosts.host-{number}]\nstorages = {{ local = {{}} }}\n" for number in range(1, hosts + 1)
    )
    head = f"[simulated]\ndirectory = {json.dumps(str(directory))}\nauto_define = true\nlatency_ms = {latency_ms}\n"
    return head + tables


def memory() -> str | None:
    """Return a folder that costs no disk, for simulated worlds; `None` where there is none."""
    folder = "/dev/shm"  # noqa: S108 - a private folder is made below it
    return folder if os.access(folder, os.W_OK) else None


LIFE: tuple[tuple[str, ...], ...] = (("deploy", "start"), ("stop", "start"), ("stop",), ("destroy",))
"""A VM's life, in batches within which no event makes another pointless."""
