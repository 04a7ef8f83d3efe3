"""A private RabbitMQ."""

from pathlib import Path

import amqp
from typing_extensions import override

from rigs.certificates import Identity
from rigs.process import LOOPBACK, Daemon, DaemonRig, RigUnavailable, find_program, free_port

_SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class RabbitMq(DaemonRig):
    """A RabbitMQ of our own on a loopback port, with its data in `directory`.

    Started by the script behind Debian's `rabbitmq-server`, which itself would change to a user of its own. It has an
    epmd (Erlang's register of nodes) of its own, too: otherwise it starts one that outlives it.

    Args:
        directory: is made if missing; holds the data and `rabbitmq.log`.
        identity: its certificate, for TLS on another port.

    Raises:
        RigUnavailable: rabbitmq-server is not installed.
    """

    def __init__(self, directory: Path, identity: Identity | None = None) -> None:
        if not _SCRIPT.exists():
            raise RigUnavailable(
                "rabbitmq-server is not installed; on Debian: apt-get install --no-install-recommends rabbitmq-server"
            )
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port, self.tls_port = free_port(), free_port()
        home = directory / "home"
        home.mkdir(exist_ok=True)
        (directory / "plugins").write_text("[].\n")
        (directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = {LOOPBACK}:{self.port}\n"
            "log.console = true\nlog.console.level = warning\nlog.file = false\n" + self._tls(identity)
        )
        epmd_port = str(free_port())
        environment = {
            "HOME": str(home),
            "RABBITMQ_BASE": str(directory),
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(directory / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
            "RABBITMQ_NODENAME": f"rig{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1 +sbwt none",
            "ERL_EPMD_PORT": epmd_port,
        }
        epmd = [find_program("epmd", "erlang-base"), "-address", LOOPBACK, "-port", epmd_port]
        self._epmd = Daemon(epmd, directory / "epmd.log")
        self._daemon = Daemon([str(_SCRIPT)], directory / "rabbitmq.log", environment)

    @property
    def url(self) -> str:
        """What a client connects to."""
        return f"amqp://guest:guest@{LOOPBACK}:{self.port}//"

    @property
    def tls_url(self) -> str:
        """The same with TLS."""
        return f"amqps://guest:guest@{LOOPBACK}:{self.tls_port}//"

    def _tls(self, identity: Identity | None) -> str:
        if identity is None:
            return ""
        files = f"ssl_options.certfile = {identity.certificate}\nssl_options.keyfile = {identity.key}\n"
        return f"listeners.ssl.1 = {LOOPBACK}:{self.tls_port}\n{files}"

    @override
    def start(self) -> None:
        """Start it and wait until it takes a login.

        Raises:
            RigError: it ended at once or did not answer in time.
        """
        self._epmd.start()
        self._daemon.start()
        self._daemon.wait_ready(self._answers, timeout=90)

    @override
    def stop(self) -> None:
        super().stop()
        self._epmd.stop()

    def _answers(self) -> bool:
        try:
            with amqp.Connection(f"{LOOPBACK}:{self.port}", connect_timeout=1):
                return True
        except OSError:
            return False
