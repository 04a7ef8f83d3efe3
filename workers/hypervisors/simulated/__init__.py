"""The simulated hypervisor: an honest implementation of the driver port on a directory.

It is shipped, for the demo, for tests and for capacity trials. What it keeps of a real hypervisor is what the fleet can
trip over: a running VM and its persistent definition are two things, a medium is a path that each host resolves for
itself, a file can vanish under a VM, a tray can be locked, storages fill up and hosts go away.

`driver.py` fulfils the port; `world.py` is the world it works on, with the verbs that an orchestrator or a guest has.
Faults are injected, and what happens is written down, by `rigs.simulated`.
"""
