"""Fetches Debian packages and unpacks them into a directory; nothing is installed and root is not needed."""

import platform
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rigs.process import RigUnavailable, find_program

_TIMEOUT = 600.0  # seconds, for one run of apt


class Packages:
    """Debian's packages as this machine's apt knows them.

    The machine's own package lists are used; where there are none, or they are too old for the mirror, lists of our own
    are fetched into `directory`.

    Args:
        directory: for the lists.
        architecture: Debian's name of one, such as `arm64`; a foreign one has lists of our own.

    Raises:
        RigUnavailable: this is no Debian system.
    """

    def __init__(self, directory: Path, architecture: str | None = None) -> None:
        self._directory = directory
        self._apt_get = find_program("apt-get", "apt")
        self._apt_cache = find_program("apt-cache", "apt")
        self._options: tuple[str, ...] = ()
        self._foreign: tuple[str, ...] = ()
        if architecture not in {None, {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine())}:
            words = (
                f"APT::Architecture={architecture}",
                f"APT::Architectures::={architecture}",
                "Dir::State::status=/dev/null",
            )
            self._foreign = tuple(word for option in words for word in ("-o", option))

    def fetch(self, names: Sequence[str], target: Path) -> None:
        """Fetch the newest version of each package into the directory `target`, which appears when all are there.

        A meta package's first dependency is taken in its place.

        Raises:
            RigUnavailable: apt does not know one of them, or could not fetch it.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="fetch-") as scratch:
            directory = Path(scratch) / "packages"
            directory.mkdir()
            if self._foreign:
                self._use_own_lists()
            try:
                self._fetch(names, directory)
            except RigUnavailable:
                if self._options:
                    raise
                self._use_own_lists()
                self._fetch(names, directory)
            put_in_place(directory, target)

    def _fetch(self, names: Sequence[str], directory: Path) -> None:
        real = self._resolve(names)
        # As root, apt would give the download to a user who may not write here.
        _run([self._apt_get, *self._options, "-o", "APT::Sandbox::User=root", "-q", "download", *real], directory)

    def _resolve(self, names: Sequence[str]) -> list[str]:
        # One call for all of them: where apt keeps no index, each call makes it anew, which is a second of CPU.
        text = _run([self._apt_cache, *self._options, "--no-all-versions", "show", *names])
        depends = re.compile(r"^Depends: (linux-image-\S+)", re.MULTILINE)
        entries = {entry.split("\n", 1)[0]: depends.search(entry) for entry in text.split("Package: ")}
        found = ((name, entries.get(name)) for name in names)
        return [meant[1] if meant else name for name, meant in found]

    def _use_own_lists(self) -> None:
        lists, cache = self._directory / "lists", self._directory / "cache"
        for directory in (lists / "partial", cache / "archives" / "partial"):
            directory.mkdir(parents=True, exist_ok=True)
        self._options = ("-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={cache}", *self._foreign)
        _run([self._apt_get, *self._options, "-o", "APT::Sandbox::User=root", "-q", "update"])


def fetch_pinned(path: str, sha256: str, directory: Path) -> None:
    """Fetch one file of Debian's archive, of whatever suite, into `directory`, from the mirror that apt uses here.

    Raises:
        RigUnavailable: there is no mirror, it has the file no more, or the file has another hash.
    """
    apt_get = find_program("apt-get", "apt")
    helper = Path("/usr/lib/apt/apt-helper")
    if not helper.exists():
        raise RigUnavailable("apt-helper is missing; apt-get install apt")
    targets = _run([apt_get, "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages"]).splitlines()
    mirrors = [uri for origin, uri in (line.split(maxsplit=1) for line in targets) if origin == "Debian"]
    if not mirrors:
        raise RigUnavailable("apt knows no mirror of Debian's archive here")
    target = directory / Path(path).name
    # As root, apt would give the download to a user who may not write here.
    options = ("-o", "APT::Sandbox::User=root")
    address = f"{mirrors[0].rstrip('/')}/{path}"
    _run([str(helper), *options, "download-file", address, str(target), f"SHA256:{sha256}"])


def unpack(packages: Path, root: Path) -> None:
    """Unpack every package in a directory into `root`, over each other.

    Raises:
        RigUnavailable: `dpkg-deb` is missing, or one of them is damaged.
    """
    dpkg_deb = find_program("dpkg-deb", "dpkg")
    for package in sorted(packages.glob("*.deb")):
        _run([dpkg_deb, "-x", str(package), str(root)])


def put_in_place(directory: Path, target: Path) -> None:
    """Rename a finished directory to `target`, unless another process was faster."""
    try:
        directory.rename(target)
    except OSError:
        if not target.exists():
            raise


def _run(argv: Sequence[str], directory: Path | None = None) -> str:
    program = Path(argv[0]).name
    try:
        done = subprocess.run(
            argv, cwd=directory, check=False, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT
        )
    except subprocess.TimeoutExpired as error:
        raise RigUnavailable(f"{program} took longer than {_TIMEOUT:g} s") from error
    if done.returncode != 0:
        complaint = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise RigUnavailable(f"{program} failed: {' '.join(complaint)}")
    return done.stdout
