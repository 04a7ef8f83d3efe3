"""XenServer and XCP-ng through the XenAPI, and through SFTP to dom0 where a site prefers it.

`driver.py` fulfils the port. Below it: `vms.py` finds a VM and its host, `slots.py` says what is in its drives,
`drives.py` changes that; `image_folder.py` keeps the images of a storage, by `transfer.py` (HTTPS) or SFTP, in the one
ISO SR that `iso_sr.py` makes; `names.py` says what things are called in XAPI; `visit.py` has the pool's session and
what is remembered of the pool, `topology.py` what it consists of; `api.py` is every XenAPI call there is, `records.py`
what they answer; `sessions.py` and `tls.py` hold the sessions; `faults.py` turns every fault into the fleet's taxonomy;
`inventory.py` reads the `[xenserver]` table.
"""
