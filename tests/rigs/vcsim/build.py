"""Makes the simulator's launcher, from Debian's Go and Debian's govmomi: half a minute, once."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.rigs.process import RigError, RigUnavailable, cache_directory, find_program, tail

_SOURCES: Final = Path(__file__).parent / "launcher"
_GOPATH: Final = Path("/usr/share/gocode")
_MISSING: Final = (
    "Debian's govmomi is not installed: apt-get install --no-install-recommends golang-github-vmware-govmomi-dev"
)


def launcher() -> Path:
    """Return the program, made now unless it was made before from the same sources.

    Raises:
        RigUnavailable: Go or govmomi is missing.
        RigError: it does not compile; with what the compiler says.
    """
    sources = sorted(_SOURCES.glob("*.go"))
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    cache = cache_directory("vcsim")
    program = cache / f"vcsim-{digest}"
    if program.exists():
        return program
    go = find_program("go", "golang-go")
    if not (_GOPATH / "src" / "github.com" / "vmware" / "govmomi").is_dir():
        raise RigUnavailable(_MISSING)
    # Nothing is fetched: all that it needs lies in GOPATH.
    environment = {
        "GO111MODULE": "off",
        "GOFLAGS": "",
        "GOPROXY": "off",
        "GOPATH": str(_GOPATH),
        "GOCACHE": str(cache / "go"),
    }
    with tempfile.TemporaryDirectory(dir=cache, prefix="make-") as scratch:
        made, log = Path(scratch) / "vcsim", Path(scratch) / "log"
        with log.open("wb") as output:
            done = subprocess.run(
                [go, "build", "-o", str(made), *map(str, sources)],
                env={**os.environ, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            raise RigError(f"the simulator's launcher does not compile:\n{tail(log)}")
        for old in cache.glob("vcsim-*"):
            old.unlink(missing_ok=True)
        made.rename(program)
    return program
