"""VMware vSphere, a vCenter or a stand-alone ESXi, through pyvmomi and the datastores' HTTPS folder.

`driver.py` fulfils the port. Below it: `drives.py` changes what is in a VM's drives, `slots.py` decides which drive,
`machines.py` finds and reads VMs, `residents.py` all of them; `storages.py` finds a VM's datastore, `folders.py` keeps
the image files on it, `users.py` knows in whose drives a file is, `estate.py` what a vCenter has; `endpoints.py` holds
the sessions, `session.py` speaks through one over the connections of `connection.py`, `tls.py` decides whom to trust;
`faults.py` turns every fault into the fleet's taxonomy; `inventory.py` reads the `[vmware]` table.
"""
