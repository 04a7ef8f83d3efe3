"""`python -m rigs.guest`: make the guest now, so that the first test or demo does not wait for it."""

import sys
import time

from rigs.guest.kernel import GuestKernel
from rigs.process import RigUnavailable


def main() -> int:
    """Make the guest; return 0 also where it cannot be had, since everything else works without it."""
    started = time.monotonic()
    try:
        guest = GuestKernel.prepare()
    except RigUnavailable as reason:
        sys.stderr.write(f"No small Linux guest on this machine: {reason}\n")
        return 0
    sys.stdout.write(
        f"The small Linux guest is there ({time.monotonic() - started:.1f} s): {guest.kernel.parent.name}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
