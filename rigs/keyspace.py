"""All that lies on Redis behind a prefix, read as it is and not through the store that wrote it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import redis

_OF_A_VM = ("vm", "mail", "body")


@dataclass
class Keyspace:
    """All keys behind a prefix at one moment, as they lie there."""

    types: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    ttls: dict[str, int] = field(default_factory=dict)

    def named(self, kind: str) -> dict[str, Any]:
        """Return the values of all keys of a kind, by what stands behind the colon."""
        return {key.partition(":")[2]: value for key, value in self.values.items() if key.partition(":")[0] == kind}

    def vms(self) -> set[str]:
        """Return every VM that has a key."""
        return {uuid for kind in _OF_A_VM for uuid in self.named(kind)}


def read(client: redis.Redis, prefix: str) -> Keyspace:
    """Read everything behind a prefix. Nobody may write meanwhile, or moments are mixed up."""
    names = sorted(client.scan_iter(match=f"{prefix}*", count=1000))
    with client.pipeline() as pipeline:
        for name in names:
            pipeline.type(name)
            pipeline.ttl(name)
        answers = pipeline.execute()
        kinds = [kind.decode() for kind in answers[::2]]
        for name, kind in zip(names, kinds, strict=True):
            _ask(pipeline, name, kind)
        values = pipeline.execute()
    keys = [name.decode().removeprefix(prefix) for name in names]
    return Keyspace(
        types=dict(zip(keys, kinds, strict=True)),
        values={key: _text(value) for key, value in zip(keys, values, strict=True)},
        ttls=dict(zip(keys, answers[1::2], strict=True)),
    )


def _ask(pipeline: Any, name: bytes, kind: str) -> None:  # noqa: ANN401 - redis-py's pipelines have no useful type
    match kind:
        case "hash":
            pipeline.hgetall(name)
        case "list":
            pipeline.lrange(name, 0, -1)
        case "zset":
            pipeline.zrange(name, 0, -1, withscores=True)
        case "set":
            pipeline.smembers(name)
        case "stream":
            pipeline.xrange(name)
        case _:
            pipeline.get(name)


def _text(value: Any) -> Any:  # noqa: ANN401 - whatever Redis answers
    match value:
        case bytes():
            return value.decode("utf-8", "replace")
        case dict():
            return {_text(name): _text(part) for name, part in value.items()}
        case list() | tuple() | set():
            return [_text(part) for part in value]
        case _:
            return value
