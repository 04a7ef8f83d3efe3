"""Real peers for the tests and the demo: redis-server, libvirtd with QEMU, sshd, a small Linux guest.

Every rig keeps its files in a directory that it is given, listens on loopback only, leaves nothing running when this
process ends (a `kill -9` of it included), and is a context manager. What a machine cannot offer is told by
`RigUnavailable`; nothing in here knows pytest.
"""

from rigs.process import RigError, RigUnavailable

__all__ = ["RigError", "RigUnavailable"]
