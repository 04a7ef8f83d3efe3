"""VMware vSphere, a vCenter or a stand-alone ESXi, through pyvmomi and the datastores' HTTPS folder.

`driver.py` fulfils the port. Below it: `drives.py` changes what is in a VM's drives, `slots.py` decides which drive,
`vms.py` finds and reads a VM, `survey.py` all of them; `storages.py` says on which datastore images lie,
`image_folder.py` keeps the files there, `usage.py` knows in whose drives a file is, `paths.py` reads datastore paths;
`topology.py` finds datastores, hosts and clusters; `visit.py` puts a host together for a verb's length; `sessions.py`
holds one session per process, `session.py` speaks over the connections of `http_pool.py`, `tls.py` decides whom to
trust; `faults.py` turns every fault into the fleet's taxonomy; `inventory.py` reads the `[vmware]` table; `doctor.py`
tries a host.
"""
