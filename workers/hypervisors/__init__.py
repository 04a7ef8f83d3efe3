"""One folder per hypervisor, each with a driver of the port ``configdrive.ports.HypervisorDriver``.

A driver is found by its entry point in the group ``configdrive.hypervisors``, never by an import from here, and the
drivers know nothing of one another.
"""
