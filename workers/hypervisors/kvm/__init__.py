"""The KVM driver: libvirt, and SFTP where a file has to lie outside of libvirt's reach.

`driver.py` fulfils the port. Below it: `drives.py` changes what is in a VM's drives, `slots.py` decides which drive,
`vms.py` reads VMs, `domain_xml.py` reads and writes libvirt's XML; `storages.py` finds a VM's storage and
`image_folder.py` keeps the image files on it; `visit.py` and `sessions.py` hold the connections; `survey.py` and
`doctor.py` look at a whole host; `inventory.py` reads the `[kvm]` table; `faults.py` turns every fault into the
fleet's taxonomy.
"""
