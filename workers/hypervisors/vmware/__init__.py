"""VMware vSphere, a vCenter or a stand-alone ESXi, through pyvmomi and the datastores' HTTPS folder.

`driver.py` fulfils the port. Below it: `drives.py` changes what is in a VM's drives, `slots.py` decides which drive,
`vms.py` finds and reads a VM, `survey.py` all of them; `storages.py` finds a VM's datastore, `image_folder.py` keeps
the image files on it, `usage.py` knows in whose drives a file is, `paths.py` reads datastore paths, `topology.py` what
a server has; `sessions.py` holds one session per process, `server.py` what was seen through it, `session.py` speaks
over the connections of `connection.py`, `tls.py` decides whom to trust; `faults.py` turns every fault into the fleet's
taxonomy; `inventory.py` reads the `[vmware]` table; `doctor.py` tries a host.
"""
