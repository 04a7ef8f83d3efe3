"""How each package is built, from the checkout and `.venv` alone: no index is asked for anything."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from click.shell_completion import get_completion_class
from packaging.requirements import Requirement

from configdrive import __version__
from deploy.packages.inside import MissingDistributionError, closure, copy, fetch
from deploy.packages.man_page import man_page
from workers.cli.program import program

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).parents[2]
EXTRAS: Final = ("kvm", "xenserver", "vmware", "cloudstack", "flower", "metrics")
"""What the Debian package has; `otel` is for who wants traces, with pip."""
CLIENT: Final = ("pybase64", "pydantic", "pydantic-settings", "pynacl", "redis", "typing-extensions")
"""What `configdrive.client` imports, by the names in pyproject.toml."""

_HERE: Final = Path(__file__).parent
_PREFIX: Final = Path("opt/configdrive")
_DOC: Final = Path("usr/share/doc/configdrive-fleet")
_COMPLETIONS: Final = {
    "bash": "usr/share/bash-completion/completions/configdrive",
    "zsh": "usr/share/zsh/vendor-completions/_configdrive",
    "fish": "usr/share/fish/vendor_completions.d/configdrive.fish",
}
EXAMPLES: Final = (
    "deploy/inventory.example.toml",
    "deploy/redis/redis.conf",
    "deploy/redis/users.acl.template",
    "deploy/packages/settings.example.toml",
    "deploy/systemd/configdrive-cloudstack.service.d/webhook.conf",
    "deploy/packages/cloudstack.example.toml",
    "deploy/cloudstack/libvirt-vm-xml-transformer.groovy",
    "deploy/cloudstack/configdrive-gate.groovy",
    "deploy/cloudstack/configdrive-gate.properties",
)
"""What the Debian package shows to be copied."""


def requirements_of(wheel: Path, extras: Sequence[str] = ()) -> list[str]:
    """Return what a wheel says that it needs, with some of its extras."""
    with zipfile.ZipFile(wheel) as archive:
        (place,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(place).decode().splitlines()
    found = [Requirement(line.partition(": ")[2]) for line in lines if line.startswith("Requires-Dist: ")]
    needed = [
        one for one in found if one.marker is None or any(one.marker.evaluate({"extra": name}) for name in extras)
    ]
    for one in needed:
        one.marker = None
    return list(map(str, needed))


def wheel_and_sdist(directory: Path) -> tuple[Path, Path]:
    """Build the wheel and the source archive of the fleet."""
    _hatch(ROOT, directory)
    name = f"configdrive_fleet-{__version__}"
    return directory / f"{name}-py3-none-any.whl", directory / f"{name}.tar.gz"


def client_wheel(directory: Path) -> Path:
    """Build the wheel of `configdrive.client` and what it is made of: for an orchestrator, without Celery and click."""
    project = _project()
    wanted = [line for line in project["dependencies"] if re.split(r"[^A-Za-z0-9-]", line)[0] in CLIENT]
    hypervisors = project["entry-points"]["configdrive.hypervisors"]
    lines = [
        "[build-system]",
        'requires = ["hatchling"]',
        'build-backend = "hatchling.build"',
        "[project]",
        'name = "configdrive-client"',
        f'version = "{__version__}"',
        'description = "Publishes VM lifecycle events to configdrive-fleet, and reads their outcomes"',
        f"requires-python = {project['requires-python']!r}",
        'license = "Apache-2.0"',
        'license-files = ["LICENSE"]',
        f"dependencies = {wanted!r}",
        '[project.entry-points."configdrive.hypervisors"]',  # the names that events may have; nothing loads them here
        *(f"{name} = {driver!r}" for name, driver in hypervisors.items()),
        "[tool.hatch.build.targets.wheel]",
        'packages = ["configdrive"]',
    ]
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch)
        shutil.copytree(ROOT / "configdrive", source / "configdrive", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copyfile(ROOT / "LICENSE", source / "LICENSE")
        (source / "pyproject.toml").write_text("\n".join(lines) + "\n")
        _hatch(source, directory, "wheel")
    return directory / f"configdrive_client-{__version__}-py3-none-any.whl"


def debian_package(wheel: Path, directory: Path) -> Path:
    """Build the Debian package of the fleet around its wheel.

    Raises:
        MissingDistributionError: `.venv` lacks something, or is of another Python than this Debian's.
    """
    seconds = _time_of_sources()
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        environment(tree, [wheel], requirements_of(wheel, EXTRAS))
        _script(tree)
        _documents(tree, datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d"))
        for unit in sorted((ROOT / "deploy/systemd").glob("*.service")):
            _put(tree / "usr/lib/systemd/system" / unit.name, unit.read_text())
        (tree / "etc/configdrive").mkdir(parents=True)
        return _dpkg(tree, directory, seconds)


def environment(tree: Path, wheels: list[Path], requirements: list[str]) -> Path:
    """Make the virtual environment of a package in a tree: wheels of ours, and what requirements need besides.

    Returns its directory of packages.

    Raises:
        MissingDistributionError: as `debian_package`.
    """
    full = subprocess.run(
        ["/usr/bin/python3", "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    version = full.rpartition(".")[0]
    own = ".".join(map(str, sys.version_info[:2]))
    if version != own:
        remedy = "make setup PYTHON=/usr/bin/python3"
        raise MissingDistributionError(f".venv is of Python {own}, /usr/bin/python3 of {version}: {remedy}")
    packages = tree / _PREFIX / f"lib/python{version}/site-packages"
    packages.mkdir(parents=True)
    inside = closure(requirements, full)
    copy([one for one in inside.distributions if one.name != "configdrive-fleet"], packages)
    fetch(inside.missing, ROOT / "constraints.txt", packages)
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(packages)
    binaries = tree / _PREFIX / "bin"
    binaries.mkdir()
    (binaries / "python3").symlink_to("/usr/bin/python3")
    (binaries / "python").symlink_to("python3")
    settings = f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {version}\n"
    _put(tree / _PREFIX / "pyvenv.cfg", settings)
    words: list[str | Path] = ["-q", "--invalidation-mode", "unchecked-hash", "-s", tree, "-p", "/", packages]
    subprocess.run([sys.executable, "-m", "compileall", *words], check=True)
    return packages


def _script(tree: Path) -> None:
    program_file = tree / _PREFIX / "bin/configdrive"
    _put(
        program_file, "#!/opt/configdrive/bin/python\nimport sys\n\nfrom workers.cli import main\n\nsys.exit(main())\n"
    )
    program_file.chmod(0o755)
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/configdrive").symlink_to("/opt/configdrive/bin/configdrive")


def _documents(tree: Path, date: str) -> None:
    page = tree / "usr/share/man/man1/configdrive.1.gz"
    page.parent.mkdir(parents=True)
    page.write_bytes(gzip.compress(man_page(date).encode(), mtime=0))
    for shell, place in _COMPLETIONS.items():
        _put(tree / place, completion(shell))
    for example in EXAMPLES:
        _put(tree / _DOC / "examples" / Path(example).name, (ROOT / example).read_text())
    for name, guide in {"deployment": "deploy/systemd", "cloudstack": "cloudstack"}.items():
        _put(tree / _DOC / f"{name}.md", (ROOT / f"docs/how-to/{guide}.md").read_text())
    _put(tree / _DOC / "copyright", (_HERE / "debian/copyright").read_text())


def completion(shell: str) -> str:
    """Return the completion of `configdrive` for `bash`, `zsh` or `fish`."""
    found = get_completion_class(shell)
    if found is None:
        raise ValueError(shell)
    return found(program, {}, "configdrive", "_CONFIGDRIVE_COMPLETE").source()


def _dpkg(tree: Path, directory: Path, seconds: int) -> Path:
    architecture = subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
    ).stdout.strip()
    size = sum(file.lstat().st_size for file in tree.rglob("*") if not file.is_dir()) // 1024
    own, following = sys.version_info[1], sys.version_info[1] + 1
    values = {
        "VERSION": __version__,
        "ARCHITECTURE": architecture,
        "SIZE": str(size),
        "PYTHON": f"python3 (>= 3.{own}), python3 (<< 3.{following})",
    }
    control = (_HERE / "debian/control").read_text()
    for name, value in values.items():
        control = control.replace(f"@{name}@", value)
    _put(tree / "DEBIAN/control", control)
    for name in ("postinst", "prerm", "postrm"):
        _put(tree / "DEBIAN" / name, (_HERE / "debian" / name).read_text())
        (tree / "DEBIAN" / name).chmod(0o755)
    for path in [tree, *tree.rglob("*")]:
        os.utime(path, (seconds, seconds), follow_symlinks=False)
        if path.is_dir():
            path.chmod(0o755)
    package = directory / f"configdrive-fleet_{__version__}_{architecture}.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Zxz", "-z1", "--build", tree, package],
        env={**os.environ, "SOURCE_DATE_EPOCH": str(seconds)},
        capture_output=True,
        check=True,
    )
    return package


def _hatch(source: Path, directory: Path, *targets: str) -> None:
    words = [word for target in targets for word in ("--target", target)]
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--directory", directory.resolve(), *words],
        cwd=source,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(_time_of_sources())},
        capture_output=True,
        check=True,
    )


def _time_of_sources() -> int:
    """Return the time of the last commit, or one that is always the same where there is no git."""
    git = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    said = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return int(os.environ.get("SOURCE_DATE_EPOCH") or said or 1_700_000_000)


def _project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o644)
