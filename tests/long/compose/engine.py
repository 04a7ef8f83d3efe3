"""A Docker engine in a network of its own, which pulls nothing: what it needs is made from Debian's packages.

The base images bear the names that docker-compose.yml and deploy/Dockerfile use. They hold Debian's redis-server and
prometheus in the place of what a registry would give; paths, users and commands are as those images have them.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from typing_extensions import override

from rigs.process import Daemon, Rig, RigError, RigUnavailable, cache_directory, find_program
from rigs.trees import remove_tree
from tests.long.debian import bootstrap

ROOT: Final = Path(__file__).parents[3]
BASE: Final = "debian:bookworm-slim"
_PACKAGES: Final = (
    # What deploy/Dockerfile asks for, and what the images in the place of others' have inside.
    *("gcc", "libc6-dev", "libvirt-dev", "pkg-config", "python3-dev", "python3-venv"),
    *("python3", "ca-certificates", "libvirt0"),
    *("redis-server", "prometheus"),
)
_REDIS: Final = f"""\
FROM {BASE}
RUN apt-get update && apt-get install --yes --no-install-recommends redis-server && install -d -o 999 -g 999 /data
WORKDIR /data
"""
_PROMETHEUS: Final = f"""\
FROM {BASE}
RUN apt-get update && apt-get install --yes --no-install-recommends prometheus \\
 && install -d -o 65534 -g 65534 /prometheus
WORKDIR /prometheus
ENTRYPOINT ["prometheus"]
"""
IMAGES: Final = {"redis:7.0-bookworm": _REDIS, "prom/prometheus:v2.42.0": _PROMETHEUS}


class Engine(Rig):
    """dockerd with all its files below one directory, the images of the stack in it.

    Args:
        directory: its data, socket and log.

    Raises:
        RigUnavailable: a program is missing, or this is not root.
    """

    def __init__(self, directory: Path) -> None:
        if os.geteuid() != 0:
            raise RigUnavailable("an engine needs root")
        self._directory = directory
        self._socket = directory / "docker.sock"
        self._docker = "/usr/bin/docker"  # of the same package; another in front of it may be of another version
        if not Path(self._docker).exists():
            raise RigUnavailable("docker is not installed: apt-get install --no-install-recommends docker.io")
        self._compose = find_program("docker-compose", "docker-compose")
        self._scan = find_program("dpkg-scanpackages", "dpkg-dev")
        unshare, dockerd = find_program("unshare", "util-linux"), find_program("dockerd", "docker.io")
        words = [
            *(dockerd, "--data-root", str(directory / "data"), "--exec-root", str(directory / "exec")),
            *("--host", f"unix://{self._socket}", "--pidfile", str(directory / "dockerd.pid")),
        ]
        # In a network of its own: no rule of a firewall here is touched, and nothing can be pulled.
        argv = [unshare, "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "dockerd", *words]
        self._daemon = Daemon(argv, directory / "dockerd.log")

    @property
    def environment(self) -> dict[str, str]:
        """What the clients need to find it."""
        return {**os.environ, "DOCKER_HOST": f"unix://{self._socket}", "DOCKER_BUILDKIT": "0"}

    @override
    def start(self) -> None:
        """Start it, and make the base images that are not there yet.

        Raises:
            RigError: it did not come up, with the end of its log; or an image could not be made.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        self._daemon.start()
        self._daemon.wait_ready(lambda: not self.try_docker("info").returncode, timeout=60)
        if self.try_docker("image", "inspect", BASE).returncode:
            self._import_debian()
        for name, text in IMAGES.items():
            if self.try_docker("image", "inspect", name).returncode:
                self.docker("build", "--tag", name, "-", given=text)

    def docker(self, *words: str, given: str | None = None) -> str:
        """Run the client.

        Raises:
            RigError: it failed; with what it said.
        """
        return _checked(self.try_docker(*words, given=given))

    def try_docker(self, *words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run the client and return how it ended."""
        return _run([self._docker, *words], environment=self.environment, given=given)

    def compose(self, *words: str) -> str:
        """Run docker-compose on our file.

        Raises:
            RigError: as `docker`.
        """
        argv = [self._compose, "--project-name", "configdrive-test", "--file", str(ROOT / "docker-compose.yml")]
        return _checked(_run([*argv, *words], environment=self.environment))

    @override
    def stop(self) -> None:
        """End it; what it had goes with it, as it is large."""
        self._daemon.stop(timeout=30)
        if (self._directory / "data").exists():
            remove_tree(self._directory / "data")

    def _import_debian(self) -> None:
        """Make Debian's smallest system, with the packages that are going to be asked for in a repository inside."""
        root = cache_directory("compose") / "bookworm"
        if not (root / "srv/debs/Packages").exists():
            if root.exists():
                remove_tree(root)
            bootstrap(root)
            shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
            fetch = f"apt-get install --yes --no-install-recommends --download-only {' '.join(_PACKAGES)}"
            _checked(_run([find_program("chroot", "coreutils"), str(root), "sh", "-c", f"apt-get update && {fetch}"]))
            debs = root / "srv/debs"
            debs.mkdir()
            for deb in (root / "var/cache/apt/archives").glob("*.deb"):
                deb.rename(debs / deb.name)
            index = _checked(_run([self._scan, "--multiversion", "."], directory=debs))
            (root / "etc/apt/sources.list").write_text("deb [trusted=yes] file:/srv/debs ./\n")
            (debs / "Packages").write_text(index)
        archive = self._directory / "bookworm.tar"
        tar = [find_program("tar", "tar"), "--create", "--numeric-owner", "--file", str(archive)]
        _checked(_run([*tar, "--directory", str(root), "."]))
        self.docker("import", "--change", 'CMD ["sh"]', str(archive), BASE)
        archive.unlink()


def fill_wheelhouse() -> Path:
    """Fetch what deploy/Dockerfile installs, for Debian's Python, into `build/wheelhouse`, hashes checked."""
    wheelhouse, venv = ROOT / "build/wheelhouse", cache_directory("compose") / "venv"
    pins = [ROOT / name for name in ("constraints.txt", "constraints-kvm.txt")]
    digest, mark = hashlib.sha256(b"".join(file.read_bytes() for file in pins)).hexdigest(), wheelhouse / "pins.sha256"
    if mark.exists() and mark.read_text() == digest:
        return wheelhouse
    _checked(_run(["/usr/bin/python3", "-m", "venv", "--clear", str(venv)]))
    pip = str(venv / "bin/pip")
    fetch = [pip, "download", "--quiet", "--require-hashes", "--no-deps", "--dest", str(wheelhouse)]
    _checked(_run([*fetch, "--only-binary", ":all:", "--requirement", str(pins[0])]))
    _checked(_run([pip, "install", "--quiet", "--no-index", "--find-links", str(wheelhouse), "setuptools", "wheel"]))
    _checked(_run([*fetch, "--no-build-isolation", "--requirement", str(pins[1])]))
    mark.write_text(digest)
    return wheelhouse


def _run(
    argv: list[str],
    *,
    environment: Mapping[str, str] | None = None,
    given: str | None = None,
    directory: Path = ROOT,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: PLW1510  # see `_checked`
        argv, env=environment, input=given, cwd=directory, capture_output=True, text=True, timeout=900
    )


def _checked(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode:
        raise RigError(f"{' '.join(done.args)} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout
