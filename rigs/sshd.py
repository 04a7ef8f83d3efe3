"""A private OpenSSH server."""

import getpass
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from typing_extensions import override

from rigs.process import LOOPBACK, Daemon, DaemonRig, find_program, free_port

_CONFIG = """\
Port {port}
ListenAddress {address}
HostKey {host_key}
AuthorizedKeysFile {authorized_keys}
PidFile none
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowUsers {user}
Subsystem sftp internal-sftp
# The keys lie in a temporary directory, below one that everybody may write into.
StrictModes no
"""


class SshServer(DaemonRig):
    """A real sshd of our own on a loopback port, for one user, with keys made for it.

    It serves commands and SFTP. The host's and the user's configuration and keys are neither read nor written.

    Args:
        directory: is made if missing; holds keys, `known_hosts` and `sshd.log`.
        within: rewrites the command that starts sshd, so that it sees another machine's files:
            `SshServer(directory, within=libvirt_host.within)`. That machine has to be on whenever this is started.
        user: another one than who runs us, who has to be root then; must be able to read `directory`.

    Raises:
        RigUnavailable: sshd or ssh-keygen is not installed.
    """

    def __init__(self, directory: Path, *, within: Callable[[list[str]], list[str]], user: str | None = None) -> None:
        self.directory = directory
        self.port = free_port()
        self.user = user or getpass.getuser()
        self._sshd = find_program("sshd", "openssh-server")
        self._keygen = find_program("ssh-keygen", "openssh-client")
        self._daemon = Daemon(lambda: within(self._command()), directory / "sshd.log")

    @property
    def host(self) -> str:
        """The address it listens on."""
        return LOOPBACK

    @property
    def key_file(self) -> Path:
        """The private key (Ed25519, no passphrase) that may log in; the public one lies beside it as `.pub`."""
        return self.directory / "user_key"

    @property
    def known_hosts(self) -> Path:
        """A known_hosts file that names this server and its key."""
        return self.directory / "known_hosts"

    @property
    def table(self) -> dict[str, object]:
        """How a client is to come here, in the words of an inventory."""
        files = {"key_file": str(self.key_file), "known_hosts": str(self.known_hosts)}
        return {"host": self.host, "port": self.port, "user": self.user, **files}

    def make_key(self, path: Path) -> Path:
        """Make one more Ed25519 key pair, which nobody has authorised, and return `path`."""
        subprocess.run(
            [self._keygen, "-q", "-t", "ed25519", "-N", "", "-C", "rig", "-f", str(path)], check=True, timeout=300
        )
        return path

    @override
    def start(self) -> None:
        """Make the keys at the first start, and start the server.

        Raises:
            RigError: it ended at once or did not answer in time, or the machine it belongs to is off.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self.known_hosts.exists():
            self._make_files()
        self._daemon.start()
        self._daemon.wait_ready(self._answers, timeout=10)

    def _command(self) -> list[str]:
        # It insists on a full path to itself, and as root on an empty directory that Debian's start script makes.
        script = f"[ $(id -u) -ne 0 ] || mkdir -p /run/sshd; exec {self._sshd} -D -e -f sshd_config"
        return ["sh", "-c", f'cd "$0" && {script}', str(self.directory)]

    def _make_files(self) -> None:
        self.make_key(self.key_file)
        host_key = self.make_key(self.directory / "host_key")
        authorized_keys = self.directory / "authorized_keys"
        authorized_keys.write_bytes(self.key_file.with_suffix(".pub").read_bytes())
        config = _CONFIG.format(
            port=self.port,
            address=LOOPBACK,
            host_key=host_key,
            authorized_keys=authorized_keys,
            user=self.user,
        )
        (self.directory / "sshd_config").write_text(config)
        algorithm, key, _ = host_key.with_suffix(".pub").read_text().split(maxsplit=2)
        self.known_hosts.write_text(f"[{LOOPBACK}]:{self.port} {algorithm} {key}\n")

    def _answers(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False
