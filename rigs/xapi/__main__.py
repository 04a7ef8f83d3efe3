"""The stand-in as a process of its own: `python -m rigs.xapi DIRECTORY --vms 2`.

Prints one line of JSON when the hosts listen: `url`, `user`, `password`, `ca`, `hosts`, `srs` (uuids by name) and `vms`
(uuids by name label). Ends on SIGTERM or SIGINT; nothing of its state outlives it but the files in the directory.
"""

from __future__ import annotations

import argparse
import json
import signal
from pathlib import Path

from rigs.xapi import XapiPool, XapiSite


def main() -> None:
    """Run until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m rigs.xapi", description="A stand-in for XenServer/XCP-ng.")
    parser.add_argument("directory", type=Path, help="holds certificates, dom0 file systems and NFS exports")
    parser.add_argument("--hosts", type=int, default=2, help="how many hosts the pool has (default: 2)")
    parser.add_argument("--vms", type=int, default=0, help="how many halted VMs to define (default: none)")
    parser.add_argument("--port", type=int, help="on which all hosts listen (default: a free one)")
    parser.add_argument("--address", action="append", default=[], help="a host's address, in order; once per host")
    options = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    names = [f"xapi-{chr(ord('A') + number)}" for number in range(options.hosts)]
    pool = XapiPool(options.directory, names, addresses=options.address, port=options.port)
    site = XapiSite(pool)
    srs = {"primary": site.add_nfs_sr("primary")}
    srs |= {f"local-{name}": site.add_local_sr(name, f"local-{name}") for name in names}
    labels = [f"i-2-{number}-VM" for number in range(1, options.vms + 1)]
    vms = {label: site.define_vm(label, srs["primary"]) for label in labels}
    with pool:
        known = {"url": pool.url, "user": pool.user, "password": pool.password, "ca": str(pool.ca)}
        hosts = {host.name: {"url": host.url, "root": str(host.root)} for host in pool.hosts}
        print(json.dumps({**known, "hosts": hosts, "srs": srs, "vms": vms}), flush=True)  # noqa: T201
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
