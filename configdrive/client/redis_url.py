"""The Redis URL: one server, a Unix socket, or the master behind a Sentinel, with TLS or without.

The URL of a Sentinel names all its nodes and the master: `redis+sentinel://user:password@one:26379,two:26379/mymaster/0`,
with TLS `rediss+sentinel://`. The login is Redis' own; Sentinel's password is a setting beside it.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

LOCAL = "127.0.0.1"
SENTINEL_PORT = 26379
LAST_PORT = 0xFFFF
FORMS = "redis://host:6379/0, rediss://, unix://, redis+sentinel:// or rediss+sentinel://, a number for the database"

_SENTINEL = re.compile(
    r"(?P<scheme>rediss?)\+sentinel://((?P<user>[^:@/]*)(:(?P<password>[^@/]*))?@)?"
    r"(?P<nodes>[^@/?#]+)/(?P<master>[A-Za-z0-9._-]+)(/(?P<database>\d{1,4}))?/?"
)
_DATABASE = re.compile(r"(/(\d{1,4}/?)?)?")
"""redis-py takes whatever else stands there for database 0, in silence."""
_NODE = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>\d{1,5}))?")

Node = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A Redis URL, taken apart. The login never shows in a repr.

    Args:
        url: as it was given.
        tls: whether TLS is spoken, with Sentinel too.
        address: host and port, path or master and nodes: for messages.
        nodes: the Sentinels; empty for a Redis that is reached directly.
        master: the name by which the Sentinels know it.
        user, password, database: the login and database of a Redis behind a Sentinel.
    """

    url: str = field(repr=False)
    tls: bool
    address: str
    nodes: tuple[Node, ...] = ()
    master: str = ""
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    database: int = 0

    @classmethod
    def read(cls, url: str) -> Endpoint | None:
        """Take a URL apart; `None` when it has none of our forms. A parser's own error would quote a password."""
        if found := _SENTINEL.fullmatch(url):
            return cls._behind_sentinel(url, found)
        with suppress(ValueError):
            parts = urlsplit(url)
            if parts.scheme == "unix":
                return cls(url, tls=False, address=parts.path)
            if parts.scheme in {"redis", "rediss"} and parts.port != 0 and _DATABASE.fullmatch(parts.path):
                return cls(url, tls=parts.scheme == "rediss", address=f"{parts.hostname or LOCAL}:{parts.port or 6379}")
        return None

    @classmethod
    def _behind_sentinel(cls, url: str, found: re.Match[str]) -> Endpoint | None:
        nodes = [_NODE.fullmatch(text) for text in found["nodes"].split(",")]
        read = tuple((node["host"].strip("[]"), int(node["port"] or SENTINEL_PORT)) for node in nodes if node)
        if len(read) != len(nodes) or not all(0 < port <= LAST_PORT for _, port in read):
            return None
        return cls(
            url,
            tls=found["scheme"] == "rediss",
            address=f"{found['master']} behind Sentinel {found['nodes']}",
            nodes=read,
            master=found["master"],
            user=unquote(found["user"] or "") or None,
            password=unquote(found["password"] or "") or None,
            database=int(found["database"] or 0),
        )

    @property
    def sentinel_urls(self) -> str:
        """The Sentinels as kombu knows them."""
        login = f"{quote(self.user or '', safe='')}:{quote(self.password or '', safe='')}@" if self.password else ""
        shown = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.nodes)
        return ";".join(f"sentinel://{login}{node}/{self.database}" for node in shown)
