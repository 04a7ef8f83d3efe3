"""Run by Debian's Python in the small Linux, with cloud-init's own packages: what a source of it makes of the drive.

Usage: `python3 cloud_init_inside.py MAC ConfigDrive|NoCloud`. Prints one line of JSON.
"""

import importlib
import json
import sys
from typing import Any


def main() -> None:
    """Let cloud-init find the drive among all devices, read it, and print what it took."""
    helpers: Any = importlib.import_module("cloudinit.helpers")
    name = f"DataSource{sys.argv[2]}"
    source: Any = importlib.import_module(f"cloudinit.sources.{name}")
    openstack: Any = importlib.import_module("cloudinit.sources.helpers.openstack")
    paths = helpers.Paths({"cloud_dir": "/mnt/cloud", "run_dir": "/run/cloud-init"})
    found = getattr(source, name)({}, None, paths)
    result: dict[str, Any] = {"found": found.get_data()}
    if result["found"]:
        result |= {
            "hostname": str(found.get_hostname().hostname),
            "instance_id": found.get_instance_id(),
            "keys": found.get_public_ssh_keys(),
            "user_data": found.get_userdata_raw().hex(),
            "vendor_data": _text(found.get_vendordata_raw()),
        }
    if result["found"] and sys.argv[2] == "NoCloud":
        result |= {"device": found.seed, "network": found.network_config}
    elif result["found"]:
        network = found.network_json
        result |= {
            "device": found.source,
            "zone": found.availability_zone,
            # As at its stage "net", with the one NIC that a booted guest would have.
            "network": network and openstack.convert_net_json(network, known_macs={sys.argv[1]: "eth0"}),
            "ec2": found.ec2_metadata,
        }
    sys.stdout.write(json.dumps(result) + "\n")


def _text(raw: str | bytes | None) -> str | None:
    return raw.decode() if isinstance(raw, bytes) else raw


if __name__ == "__main__":
    main()
