"""A vCenter, or a stand-alone ESXi, of our own: govmomi's simulator (vcsim) behind a front as strict as the real one.

`launcher/` is the Go program, `build.py` makes it, `server.py` starts it and breaks it on demand, `cloud.py` has VMs on
it. The simulator lets pass what a vCenter refuses; what the front refuses instead: calls without a session, files
without session or ticket, in missing folders and cut short; IDE drives plugged into running VMs, missing controllers
and unit numbers, media that are missing or on a datastore that the host has not mounted, the deletion of a file that a
running VM has in a drive. A guest that holds its tray raises the question.
"""
