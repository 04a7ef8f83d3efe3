"""Programs in Go that tests need, made from Debian's Go and Debian's packages for it, once for each state of them."""

import fcntl
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rigs.process import RigError, RigUnavailable, cache_directory, find_program, tail

_GOPATH: Final = Path("/usr/share/gocode")


def build(name: str, sources: Sequence[Path], *, needs: str, package: str) -> Path:
    """Return the program, made now unless it was made before from the same sources.

    Args:
        name: the program's; also that of its place in the cache.
        sources: all of its files.
        needs: a Go package that is not Go's own.
        package: the Debian package that has it.

    Raises:
        RigUnavailable: Go or the package is missing.
        RigError: it does not compile; with what the compiler says.
    """
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sorted(sources))).hexdigest()[:12]
    cache = cache_directory(name)
    program = cache / f"{name}-{digest}"
    if program.exists():
        return program
    go = find_program("go", "golang-go")
    if not (_GOPATH / "src" / needs).is_dir():
        raise RigUnavailable(f"{needs} is not installed: apt-get install --no-install-recommends {package}")
    # Nothing is fetched: all that it needs lies in GOPATH.
    environment = {
        "GO111MODULE": "off",
        "GOFLAGS": "",
        "GOPROXY": "off",
        "GOPATH": str(_GOPATH),
        "GOCACHE": str(cache / "go"),
    }
    with (cache / "lock").open("w") as lock, tempfile.TemporaryDirectory(dir=cache, prefix="make-") as scratch:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several processes that want it at once, one makes it
        if program.exists():
            return program
        made, log = Path(scratch) / name, Path(scratch) / "log"
        with log.open("wb") as output:
            done = subprocess.run(
                [go, "build", "-o", str(made), *map(str, sources)],
                env={**os.environ, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            raise RigError(f"{name} does not compile:\n{tail(log)}")
        for old in cache.glob(f"{name}-*"):
            old.unlink(missing_ok=True)
        made.rename(program)
    return program
