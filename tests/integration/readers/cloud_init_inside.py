"""Run by Debian's Python in the small Linux, with cloud-init's own packages: what its ConfigDrive source makes of it.

Usage: `python3 cloud_init_inside.py MAC`. Prints one line of JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any


def main() -> None:
    """Let cloud-init find the drive among all devices, read it, and print what it took."""
    helpers: Any = importlib.import_module("cloudinit.helpers")
    source: Any = importlib.import_module("cloudinit.sources.DataSourceConfigDrive")
    openstack: Any = importlib.import_module("cloudinit.sources.helpers.openstack")
    paths = helpers.Paths({"cloud_dir": "/mnt/cloud", "run_dir": "/run/cloud-init"})
    found = source.DataSourceConfigDrive({}, None, paths)
    result: dict[str, Any] = {"found": found.get_data()}
    if result["found"]:
        network = found.network_json
        result |= {
            "device": found.source,
            "hostname": str(found.get_hostname().hostname),
            "instance_id": found.get_instance_id(),
            "zone": found.availability_zone,
            "keys": found.get_public_ssh_keys(),
            "user_data": found.get_userdata_raw().hex(),
            "vendor_data": found.get_vendordata_raw(),
            # As at its stage "net", with the one NIC that a booted guest would have.
            "network": network and openstack.convert_net_json(network, known_macs={sys.argv[1]: "eth0"}),
            "ec2": found.ec2_metadata,
        }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
