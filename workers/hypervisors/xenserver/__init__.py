"""XenServer and XCP-ng through the XenAPI, and through SFTP to dom0 where a site prefers it.

`driver.py` fulfils the port. Below it: `visit.py` and `look.py` find a VM, its host and a storage; `drives.py` changes
what is in a VM's drives; `repositories.py` makes the one config drive ISO SR of a primary storage; `images.py` keeps
the image files in it, by `transfer.py` (HTTPS) or `dom0.py` (SFTP); `names.py` says what things are called in XAPI;
`topology.py` is what the pool consists of; `api.py` is every XenAPI call there is, `records.py` what they answer;
`sessions.py`, `connections.py` and `tls.py` hold the sessions; `faults.py` turns every fault into the fleet's taxonomy;
`inventory.py` reads the `[xenserver]` table.
"""
