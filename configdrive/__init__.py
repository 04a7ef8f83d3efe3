"""The domain: which config drive a VM must have, what is on it, and the steps that make it so.

Pure Python. Nothing in here opens a connection, knows a queue or imports a hypervisor's SDK; see ``CONTRIBUTING.md``.
"""

__version__ = "0.1.0"
