"""OpenSSH's own `ssh-keygen` takes the lines that we take, and no others."""

import base64
import subprocess
from pathlib import Path
from typing import Final

import pytest

from configdrive.ssh_keys import normal
from tests.support import find_program, require_rig


def field(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def line(name: str, *parts: bytes) -> str:
    return f"{name} {base64.b64encode(field(name.encode(), *parts)).decode()}"


# Security keys are made by hardware only. The point is one of the curve: its generator.
POINT: Final = bytes.fromhex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
ED25519: Final = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1h0cWzQ0bV0Zr0mJj8p3o0pO2uV2Y0y4o0u9pT6b5F"
BLOB: Final = ED25519.partition(" ")[2]
SK_ECDSA: Final = line("sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", POINT, b"ssh:")
WHOLE: Final = base64.b64decode(BLOB)


def encoded(name: str, blob: bytes) -> str:
    return f"{name} {base64.b64encode(blob).decode()}"


LINES: Final = {
    "plain": ED25519,
    "comment": f"{ED25519} alice smith@example",
    "two blanks": ED25519.replace(" ", "  ") + "  me",
    "tabs": ED25519.replace(" ", "\t") + "\tme",
    "options": f'command="/bin/a b",no-pty,from="10.0.0.0/8" {ED25519} me',
    "an escaped quote": f'command="echo \\"hi there\\"" {ED25519}',
    "cert-authority": f"cert-authority {ED25519}",
    "options and a tab": f"restrict\t{ED25519}",
    "sk-ed25519": line("sk-ssh-ed25519@openssh.com", bytes(range(32)), b"ssh:"),
    "sk-ecdsa": SK_ECDSA,
    "webauthn": SK_ECDSA.replace("sk-ecdsa", "webauthn-sk-ecdsa", 1),
    "not a key": "ssh-ed25519 AAAAthisisnotakeyatall= x",
    "another type": f"ssh-rsa {BLOB}",
    "unknown type": f"ssh-foo {BLOB}",
    "no key": "ssh-ed25519",
    "no base64": "ssh-ed25519 *****",
    "short": encoded("ssh-ed25519", WHOLE[:-1]),
    "long": encoded("ssh-ed25519", WHOLE + b"\0"),
    "an open quote": f'command="a b {ED25519}',
    "a comment only": "# a comment",
    "empty": "",
    "not on the curve's form": line("sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", POINT[:-1], b"ssh:"),
    "another curve": line("ecdsa-sha2-nistp256", b"nistp384", POINT),
    "small rsa": line("ssh-rsa", b"\1\0\1", b"\x7f" + bytes(63)),
    "rsa": line("ssh-rsa", b"\1\0\1", b"\0\xff" + b"\xab" * 255),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Lines of keys that only `ssh-keygen` can make."""
    folder = tmp_path_factory.mktemp("keys")
    keys = {"ecdsa-256": ("ecdsa", "256"), "ecdsa-521": ("ecdsa", "521"), "ed25519": ("ed25519", "256")}
    for name, (kind, bits) in keys.items():
        _keygen("-q", "-t", kind, "-b", bits, "-N", "", "-C", "me", "-f", str(folder / name))
    for name in ("ecdsa-256", "ed25519"):
        _keygen("-q", "-s", str(folder / "ecdsa-521"), "-I", "id", "-n", "a,b", str(folder / f"{name}.pub"))
    return {path.name: path.read_text().strip() for path in folder.glob("*.pub")}


def _keygen(*arguments: str) -> int:
    with require_rig():
        program = find_program("ssh-keygen", "openssh-client")
    return subprocess.run([program, *arguments], check=False, capture_output=True, timeout=600).returncode


def takes(text: str, scratch: Path) -> bool:
    file = scratch / "line"
    file.write_text(f"{text}\n")
    return _keygen("-l", "-f", str(file)) == 0


@pytest.mark.parametrize("name", LINES)
def test_a_line_is_taken_when_openssh_takes_it(name: str, tmp_path: Path) -> None:
    text = LINES[name]
    kept = normal(text)
    assert (kept is not None) == takes(text, tmp_path)
    if kept is not None:
        assert takes(kept, tmp_path)
        assert normal(kept) == kept
        assert kept.split() == text.split()


def test_keys_and_certificates_that_openssh_made_are_taken_as_they_are_and_not_when_cut_short(
    made: dict[str, str], tmp_path: Path
) -> None:
    assert len(made) == 5
    for text in made.values():
        assert normal(text) == text
        name, blob, _ = text.split(" ")
        cut = encoded(name, base64.b64decode(blob)[:-3])
        assert normal(cut) is None
        assert not takes(cut, tmp_path)
