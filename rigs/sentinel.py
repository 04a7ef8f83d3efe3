"""A Redis that may fail: one master, replicas, and Sentinels that agree on who is the master."""

from contextlib import suppress
from pathlib import Path

import redis
from typing_extensions import override

from rigs.process import LOOPBACK, Daemon, Rig, find_program, free_port, wait_until
from rigs.redis import RedisServer

MASTER = "fleet"
_DOWN_AFTER_MS = 2000


class SentinelledRedis(Rig):
    """A master, replicas and three Sentinels on loopback ports; a failover takes three to five seconds.

    Args:
        directory: is made if missing; holds the data and logs of all.
        replicas: how many.

    Raises:
        RigUnavailable: redis-server is not installed.
    """

    def __init__(self, directory: Path, *, replicas: int = 2) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.servers = [RedisServer(directory / f"redis-{number}") for number in range(replicas + 1)]
        self._ports = [free_port() for _ in range(3)]
        program = find_program("redis-server", "redis-server")
        self._sentinels = [self._sentinel(directory, program, port) for port in self._ports]

    def _sentinel(self, directory: Path, program: str, port: int) -> Daemon:
        file = directory / f"sentinel-{port}.conf"
        file.write_text(
            f"port {port}\nbind {LOOPBACK}\ndir {directory}\n"
            f"sentinel monitor {MASTER} {LOOPBACK} {self.servers[0].port} 2\n"
            f"sentinel down-after-milliseconds {MASTER} {_DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {MASTER} 5000\n",
            "utf-8",
        )
        return Daemon([program, str(file), "--sentinel"], directory / f"sentinel-{port}.log")

    @property
    def url(self) -> str:
        """What the fleet's settings name."""
        return f"redis+sentinel://{','.join(f'{LOOPBACK}:{port}' for port in self._ports)}/{MASTER}/0"

    @property
    def master(self) -> RedisServer:
        """Who is the master now, as the Sentinels have it.

        Raises:
            RigError: they do not agree on one of the servers that run.
        """
        return wait_until(self._agreed, "the Sentinels to agree on a master", timeout=30)

    @override
    def start(self) -> None:
        """Start all, and wait until every replica follows and every Sentinel knows the others.

        Raises:
            RigError: one of them did not come up, or they did not find one another.
        """
        for server in self.servers:
            server.start()
        for server in self.servers[1:]:
            with server.client() as client:
                client.replicaof(LOOPBACK, self.servers[0].port)
        with self.servers[0].client() as client:
            wait_until(
                lambda: int(client.info("replication")["connected_slaves"]) == len(self.servers) - 1,
                "the replicas to follow",
                timeout=20,
            )
        for sentinel in self._sentinels:
            sentinel.start()
        wait_until(self._complete, "the Sentinels to find one another", timeout=30)

    def fail_over(self) -> RedisServer:
        """Kill the master (SIGKILL) and wait for another; returns the dead one, to be started again or not."""
        dead = self.master
        dead.kill()
        wait_until(lambda: (found := self._agreed()) and found is not dead, "another master", timeout=30)
        return dead

    @override
    def stop(self) -> None:
        """Stop all."""
        for sentinel in self._sentinels:
            sentinel.stop()
        for server in self.servers:
            server.stop()

    def _ask(self, port: int, *words: str) -> list[bytes] | None:
        with redis.Redis(host=LOOPBACK, port=port, socket_timeout=1) as client, suppress(redis.RedisError):
            answer: list[bytes] = client.execute_command("SENTINEL", *words)
            return answer
        return None

    def _agreed(self) -> RedisServer | None:
        names = [self._ask(port, "GET-MASTER-ADDR-BY-NAME", MASTER) for port in self._ports]
        ports = {int(name[1]) if name else 0 for name in names}
        return next((one for one in self.servers if ports == {one.port} and one.running and _leads(one)), None)

    def _complete(self) -> bool:
        counts = (
            (len(self._ask(port, "SENTINELS", MASTER) or ()), len(self._ask(port, "REPLICAS", MASTER) or ()))
            for port in self._ports
        )
        return all(count == (len(self._ports) - 1, len(self.servers) - 1) for count in counts)


def _leads(server: RedisServer) -> bool:
    with server.client() as client, suppress(redis.RedisError):
        return bool(client.info("replication")["role"] == "master")
    return False
