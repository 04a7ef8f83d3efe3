"""A private redis-server."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from typing_extensions import override

from rigs.process import LOOPBACK, Daemon, DaemonRig, find_program, free_port


class RedisServer(DaemonRig):
    """A redis-server of our own on a loopback port, configured as a broker should be.

    `noeviction`, an append-only file and no snapshots; its data lies in `directory` and survives stop, kill and start.

    Args:
        directory: is made if missing; holds the data and `redis.log`.
        appendonly: keep the append-only file. Without it a restart forgets everything.
        appendfsync: when the file is flushed to disk. Redis' own default may hold an answered write back for up to two
            seconds while the disk is slow, and a `kill -9` then loses it; "always" never does.
        port: a fixed one; a free one otherwise. It stays the same over restarts.
        more: further directives of redis.conf.

    Raises:
        RigUnavailable: redis-server is not installed.
    """

    _tls: Mapping[str, str] = MappingProxyType({})

    def __init__(  # what a server may be told
        self,
        directory: Path,
        *,
        appendonly: bool = True,
        appendfsync: Literal["always", "everysec", "no"] = "everysec",
        port: int | None = None,
        more: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.port = port or free_port()
        options = {
            "port": str(self.port),
            "bind": LOOPBACK,
            "dir": str(directory),
            "appendonly": "yes" if appendonly else "no",
            "appendfsync": appendfsync,
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            **(more or {}),
        }
        argv = [find_program("redis-server", "redis-server")]
        for name, value in options.items():
            argv += [f"--{name}", value]
        self._daemon = Daemon(argv, directory / "redis.log")

    @property
    def url(self) -> str:
        """What a client connects to, database 0."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    def client(self, *, decode_responses: bool = False) -> redis.Redis:
        """Return a new client that gives up after a minute; the caller closes it."""
        return redis.Redis.from_url(
            self.url, decode_responses=decode_responses, socket_timeout=60, socket_connect_timeout=60
        )

    @override
    def start(self) -> None:
        """Start the server and wait until it has read its data and answers.

        Raises:
            RigError: it ended at once or did not answer in time.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self._daemon.start()
        self._daemon.wait_ready(self._answers, timeout=20)

    def restart(self) -> None:
        """Stop and start on the same port with the same data."""
        self.stop()
        self.start()

    def _probe(self) -> redis.Redis:
        return redis.Redis.from_url(
            self.url, socket_timeout=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0), **self._tls
        )

    def _answers(self) -> bool:
        with self._probe() as client:
            try:
                return bool(client.ping())
            except redis.RedisError:  # not there yet, or still loading its data
                return False


class TlsRedisServer(RedisServer):
    """The same with TLS only, for clients with a certificate of the same authority (`rigs.certificates`)."""

    def __init__(self, directory: Path, pki: Path) -> None:
        self.pki, port = pki, free_port()
        self._tls = {
            "ssl_ca_certs": str(pki / "cacert.pem"),
            "ssl_certfile": str(pki / "clientcert.pem"),
            "ssl_keyfile": str(pki / "clientkey.pem"),
        }
        more = {
            "port": "0",
            "tls-port": str(port),
            "tls-ca-cert-file": str(pki / "cacert.pem"),
            "tls-cert-file": str(pki / "servercert.pem"),
            "tls-key-file": str(pki / "serverkey.pem"),
            "tls-auth-clients": "yes",
        }
        super().__init__(directory, port=port, more=more)

    @property
    @override
    def url(self) -> str:
        return f"rediss://{LOOPBACK}:{self.port}/0"
