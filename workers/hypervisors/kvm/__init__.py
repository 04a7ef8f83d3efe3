"""KVM through libvirt, and through SFTP where a file has to lie outside of libvirt's reach.

`driver.py` fulfils the port. Below it: `drives.py` changes what is in a VM's drives, `slots.py` decides which drive,
`domain_xml.py` reads and writes libvirt's disk elements; `storages.py` finds a VM's storage, `folders.py`,
`volumes.py` and `sftp.py` keep the image files on it; `links.py` and `ssh.py` hold the connections; `faults.py` turns
every fault of theirs into the fleet's taxonomy; `inventory.py` reads the `[kvm]` table.
"""
