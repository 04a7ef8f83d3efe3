"""cloud-init's own code takes our vendor data in beside the operator's and any user data."""

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from configdrive.contents.vendor_data import vendor_data
from configdrive.drive_data import VmData
from rigs.process import find_program
from tests.drives import secret
from tests.integration.readers.test_networks import VERSIONS, packages
from tests.support import require_rig

INSIDE: Final = Path(__file__).parent / "cloud_init_vendor.py"
PASSWORD: Final = "Grün \"und\" 'blau'\\1 $(id) %s ` # : ! \U0001f600"
OPERATORS: Final = (
    "#cloud-config\npackages: [guest-agent]\npassword: of-all\nssh_pwauth: false\nchpasswd: {list: ['a:b']}\n"
)
PLAIN: Final = "#cloud-config\nruncmd: [[id]]\n"


def take_in(version: str, pairs: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Let a cloud-init take in pairs of vendor and user data, in a `/var/lib` and a `/run` of its own."""
    with require_rig():
        unshare = find_program("unshare", "util-linux")
    owner = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    own = 'mount -t tmpfs tmpfs /var/lib && mount -t tmpfs tmpfs /run && exec /usr/bin/python3 "$0"'
    done = subprocess.run(
        [unshare, *owner, "--mount", "--", "sh", "-c", own, INSIDE],
        input=json.dumps(pairs),
        env={
            "PYTHONPATH": packages(version),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LC_ALL": "C.UTF-8",
            "PATH": os.environ["PATH"],
        },
        check=False,
        capture_output=True,
        text=True,
        timeout=6000,
    )
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def set_by(script: str, there: str, directory: Path) -> str:
    """Run a script in a guest that has one user beside root, and return what chpasswd was told."""
    programs = {
        "cloud-init": '[ "$1 $2" = "query merged_cfg.system_info.default_user.name" ] && echo debian',
        "id": f'[ "$2" = {there} ]',
        "chpasswd": f"cat >{directory}/told",
    }
    for name, text in programs.items():
        (directory / name).write_text(f"#!/bin/sh\n{text}\n")
        (directory / name).chmod(0o755)
    (directory / "script").write_text(script)
    subprocess.run(
        ["/bin/sh", directory / "script"], env={"PATH": f"{directory}:/usr/bin:/bin"}, check=True, timeout=600
    )
    return (directory / "told").read_text()


@pytest.mark.parametrize("version", VERSIONS)
def test_the_password_survives_the_operators_vendor_data_and_user_data_that_name_the_users(
    version: str, tmp_path: Path
) -> None:
    users = ("#cloud-config\nusers: [{name: bob}]\n", "#cloud-config\nchpasswd: {list: ['bob:x']}\n")
    theirs = "#cloud-config\npassword: mine\n"
    texts = (PLAIN, *users, theirs)
    cases = [(text, operators) for text in texts for operators in (None, OPERATORS)]
    pairs = [
        {"user": text, "vendor": vendor_data(VmData(user_data=secret(text.encode())), PASSWORD, operators) or ""}
        for text, operators in cases
    ]
    for (text, operators), taken in zip(cases, take_in(version, pairs), strict=True):
        config, scripts = taken["config"], taken["scripts"]
        assert config.get("packages") == (None if operators is None else ["guest-agent"])
        if text == theirs:
            assert config["password"] == "mine"
            assert not scripts
            continue
        assert config["ssh_pwauth"] is True
        if text == PLAIN:
            assert (config["password"], config["chpasswd"], scripts) == (PASSWORD, {"expire": False}, {})
            continue
        [(script, mode)] = scripts.values()
        assert stat.S_IMODE(mode) == stat.S_IRWXU
        assert set_by(script, "debian", tmp_path) == f"debian:{PASSWORD}\n"
        assert set_by(script, "root", tmp_path) == f"root:{PASSWORD}\n"
        if operators is None:
            assert config.get("chpasswd", {}).get("expire") is None  # a password of the tenant's expires as it says
