"""Makes the simulator's launcher, from Debian's Go and Debian's govmomi: half a minute, once."""

from pathlib import Path
from typing import Final

from rigs import golang

_SOURCES: Final = Path(__file__).parent / "launcher"


def launcher() -> Path:
    """Return the program, made now unless it was made before from the same sources.

    Raises:
        RigUnavailable: Go or govmomi is missing.
        RigError: it does not compile; with what the compiler says.
    """
    return golang.build(
        "vcsim",
        sorted(_SOURCES.glob("*.go")),
        needs="github.com/vmware/govmomi",
        package="golang-github-vmware-govmomi-dev",
    )
