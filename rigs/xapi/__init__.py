"""A stand-in for XenServer and XCP-ng: hosts in a pool that answer as xapi 23.14 (API of 8.3) does, over TLS.

    from rigs.xapi import XapiPool, XapiSite

    with XapiPool(folder, ("xapi-A", "xapi-B")) as pool:   # the first is the master
        site = XapiSite(pool)
        primary = site.add_nfs_sr("primary")               # or add_local_sr("xapi-A", "local"), add_block_sr("san")
        vm = site.define_vm("i-2-7-VM", primary)           # halted, root disk on that SR; returns the uuid
        session = XenAPI.Session(pool.url, ...)            # pool.user, pool.password; trust pool.ca or a host's
        site.start_vm(vm, "xapi-B")                        #   .fingerprint (SHA-256)
        site.drives(vm)                                    # what the guest sees: number, mode, file name, bytes

* All hosts listen on one port, each on its own loopback address (127.0.0.1, 127.0.0.2, ...; `addresses=` chooses).
  `HOST_IS_SLAVE` tells the master's address, as xapi does; follow it on the same port. The Location of a 302 has the
  port (xapi's has none, there it is 443). Each host's certificate is for its own address and name only.
* A host's dom0 file system is `pool.host(name).root`: the ISO SR with `{"location": "/srv/x", "legacy_mode": "true"}`
  lies in `root / "srv/x"`, which must exist, as on a real host (`SR_BACKEND_FAILURE_226`). An `ext` SR is mounted
  at `root / "run/sr-mount/<uuid>"`, an NFS one too (a link to the export).
* An NFS server is there when `site.export(server, path)` was called (`add_nfs_sr` does it); a folder below an export
  can be mounted when it exists. Unknown server: `_108`; missing folder: `_222`. An SR of type nfs makes, as the real
  driver, the folder `<export>/<sr uuid>`.
* Faults: `pool.faults.fail("VBD.insert", "VBD_NOT_EMPTY", "OpaqueRef:x", times=2)`, `.drop("VDI.create")` (broken off
  after the effect), `.drop(..., after_effect=False)`, `.delay("VM.start", 2.0)`; `rigs.xapi.faults.IMPORT` is the
  name of the upload. `pool.expire_sessions()`, `pool.make_master("xapi-B")`, `pool.down(host)`, `pool.booting(host)`,
  `pool.restart_toolstack(host)`, `site.migrating(vm, host)` (in the middle of it: `OTHER_OPERATION_IN_PROGRESS`).
* One at a time is at an SR (create, destroy, scan); `pool.exclusion.waits = (1.0, 20.0)` lets whoever comes second
  sleep a random time, as xapi does. `pool.collect_garbage()` is what it does by itself every 30 s, `pool.protect(vm)`
  turns HA on, `pool.world.newer = True` gives the errors of releases after 24.
* Sessions and tasks live in the master's memory: a new master, or the old one come back, knows none of them.
* Python's xmlrpc.client sends a call a second time, whatever it does, when its connection broke without an answer:
  plant a drop twice (`times=2`) to see the client's error, once to see what the repeated call leads to.
* `pool.calls` counts the messages by name, `pool.sessions` the open sessions; `pool.call("VM.get_record", reference)`
  asks from inside, without session, faults and counting.
* Guests with `hvm=True` show CD drives only when the drive was there at boot, at 0 to 3; `site.add_cd(vm)` adds an
  empty one. A disk that is read-only shows with PV drivers, and cannot be plugged. `Drive.seen` says it.

How near it is to the real xapi is shown by `tests/integration/xenserver/test_recordings.py`, which replays recorded
answers and lists every deviation.
"""

from rigs.xapi.errors import XapiError
from rigs.xapi.pool import XapiPool
from rigs.xapi.site import Drive, XapiSite
from rigs.xapi.world import XapiHost

__all__ = ["Drive", "XapiError", "XapiHost", "XapiPool", "XapiSite"]
