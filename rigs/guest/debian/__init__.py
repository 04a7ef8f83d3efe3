"""A small Debian with accounts, PAM, udev and a login on its serial console, on a root disk that keeps what is changed.

`root` makes its root disk, `terminal` is a person at its console. It boots Debian's kernel like the other guest, with
busybox as process 1.
"""

from rigs.guest.debian.root import DebianGuest
from rigs.guest.debian.terminal import Terminal

__all__ = ["DebianGuest", "Terminal"]
